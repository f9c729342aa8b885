//! Growth for engines that manage one range of fixed length: a list of heaps behind a mutex.
//!
//! A request first tries the heap that was used last, then the others with enough free bytes. If none
//! serves it, a heap is added, at least as large as the request. Heaps are kept.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ALIGNMENT, BestFit, Contestant, HEAP};

/// Manages one range that starts at 0. It is not thread-safe.
pub(crate) trait Engine: Send {
    /// The data that is needed to free an allocation.
    type Token: Send;

    fn new(bytes: u64) -> Self;

    /// Returns the length of a range that can serve a request of `bytes` while it is empty.
    fn room_for(bytes: u64) -> u64 {
        bytes.next_multiple_of(ALIGNMENT)
    }

    fn allocate(&mut self, bytes: u64) -> Option<Self::Token>;

    fn free(&mut self, token: Self::Token);
}

/// A list of heaps, each with its own engine.
pub(crate) struct Heaps<E> {
    heap_bytes: u64,
    most: usize,
    state: Mutex<State<E>>,
}

struct State<E> {
    heaps: Vec<Heap<E>>,
    last: usize,
    reserved: u64,
}

struct Heap<E> {
    engine: E,
    free: u64,
}

/// An allocation in one of the heaps.
pub(crate) struct Held<T> {
    token: T,
    heap: u32,
    size: u64,
}

impl<E: Engine> Heaps<E> {
    /// Creates heaps of [`HEAP`] bytes, as many as needed.
    pub(crate) fn growing() -> Self {
        Self::new(HEAP, usize::MAX)
    }

    /// Creates at most `most` heaps of `heap_bytes`.
    pub(crate) fn new(heap_bytes: u64, most: usize) -> Self {
        let state = Mutex::new(State { heaps: Vec::new(), last: 0, reserved: 0 });
        Self { heap_bytes, most, state }
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Engine> State<E> {
    #[inline]
    fn allocate_in(&mut self, index: usize, size: u64) -> Option<Held<E::Token>> {
        let heap = self.heaps.get_mut(index).filter(|heap| heap.free >= size)?;
        let token = heap.engine.allocate(size)?;
        heap.free -= size;
        self.last = index;
        Some(Held { token, heap: index as u32, size })
    }

    #[cold]
    fn grow(&mut self, bytes: u64) {
        self.heaps.push(Heap { engine: E::new(bytes), free: bytes });
        self.reserved += bytes;
    }
}

impl<E: Engine> Contestant for Heaps<E> {
    type Held = Held<E::Token>;

    #[inline]
    fn allocate(&self, size: u64) -> Option<Self::Held> {
        let mut state = self.lock();
        let last = state.last;
        if let Some(held) = state.allocate_in(last, size) {
            return Some(held);
        }
        let others = (0..state.heaps.len()).filter(|index| *index != last);
        if let Some(held) = others.into_iter().find_map(|index| state.allocate_in(index, size)) {
            return Some(held);
        }
        if state.heaps.len() >= self.most {
            return None;
        }
        state.grow(self.heap_bytes.max(E::room_for(size)));
        let newest = state.heaps.len() - 1;
        state.allocate_in(newest, size)
    }

    #[inline]
    fn free(&self, slot: &mut Option<Self::Held>) {
        if let Some(held) = slot.take() {
            let mut state = self.lock();
            let heap = &mut state.heaps[held.heap as usize];
            heap.free += held.size;
            heap.engine.free(held.token);
        }
    }

    fn reserved(&self) -> Option<u64> {
        Some(self.lock().reserved)
    }
}

/// Best fit over one range without end. Everything up to the highest allocation counts as held. This is a
/// bound on the packing of devices that grow a heap in place.
pub(crate) struct OneRange(Mutex<BestFit>);

impl OneRange {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(BestFit::new(1 << 60)))
    }

    fn lock(&self) -> MutexGuard<'_, BestFit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contestant for OneRange {
    type Held = Range<u64>;

    fn allocate(&self, size: u64) -> Option<Range<u64>> {
        self.lock().allocate(size)
    }

    fn free(&self, slot: &mut Option<Range<u64>>) {
        if let Some(range) = slot.take() {
            self.lock().free(range);
        }
    }

    fn reserved(&self) -> Option<u64> {
        Some(self.lock().reach())
    }
}

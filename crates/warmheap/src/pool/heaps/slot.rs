//! One heap of the pool: memory from the device, the metadata about it, and the lock around both.
//!
//! A thread may own the heap. The owner works on it without locked instructions. Other threads leave the
//! spans that they free in the heap's remote free list. The owner empties that list when it next allocates,
//! and so does any thread that takes the heap. The heap must never be touched without its lock.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::device::Memory;
use crate::offsets::{Levels, Placed, RangeAllocator, allocate_below};
use crate::pool::accounting::device_calls::Held;
use crate::pool::heaps::fit_index::FitIndex;
use crate::pool::heaps::records::{AllocRecord, RecordTable};
use crate::pool::heaps::span::{GROWING, Span, SpanHead, SpanRequest};
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Biased, Mutex, Owner, Taken, lock};

/// The right to work on a heap as its owner. Each thread-owned heap has exactly one, and the thread that
/// holds it is the owner.
#[derive(Debug)]
pub(crate) struct OwnHeap {
    index: u16,
    owner: Owner,
}

impl OwnHeap {
    /// The index of the heap's slot.
    #[inline(always)]
    pub(crate) fn index(&self) -> u16 {
        self.index
    }
}

/// A slot for a heap. Slots exist for the whole life of the pool, and heaps come and go in them. A slot has
/// cache lines of its own, two at a time as processors fetch them, because the slot beside it may be another
/// thread's.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct HeapSlot {
    index: u16,
    /// log2 of the bytes in a granule.
    shift: u32,
    /// The heap's levels, to be read without its lock. They were right when a thread last left the heap.
    levels: AtomicU64,
    /// A bound on the longest free block. It was right when a thread other than the owner last left the heap.
    longest: AtomicU32,
    /// The pool's index of that bound over all heaps.
    holes: Arc<FitIndex>,
    body: Biased<Body>,
    /// Whether a thread owns the heap. This is advice: it says where a free should go.
    owned: AtomicBool,
    inbox: Mutex<Vec<Span>>,
    /// The granules in the remote free list.
    mail: AtomicU32,
}

/// What the slot's lock guards.
#[derive(Debug, Default)]
struct Body {
    heap: Option<Heap>,
    /// Records by block number, for whichever heap is here. They outlive it.
    records: RecordTable,
}

/// A heap in its slot.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) space: RangeAllocator,
    pub(crate) memory: Arc<dyn Memory>,
    pub(crate) elastic: bool,
    address: u64,
    /// The bytes that the device gave, or reserved if the heap grows in place.
    size: u64,
}

impl Heap {
    pub(crate) fn new(space: RangeAllocator, held: Held, elastic: bool) -> Self {
        let Held { memory, address, size } = held;
        Self { space, memory, elastic, address, size }
    }

    /// The bytes held from the device, where a granule is `1 << shift` bytes.
    pub(crate) fn held(&self, shift: u32) -> u64 {
        if self.elastic { u64::from(self.space.committed()) << shift } else { self.size }
    }

    /// The memory and its address.
    pub(crate) fn place(&self) -> (Arc<dyn Memory>, u64) {
        (Arc::clone(&self.memory), self.address)
    }
}

impl HeapSlot {
    pub(crate) fn new(index: u16, shift: u32, holes: Arc<FitIndex>) -> Self {
        Self {
            index,
            shift,
            levels: AtomicU64::new(0),
            longest: AtomicU32::new(0),
            holes,
            body: Biased::new(Body::default()),
            owned: AtomicBool::new(false),
            inbox: Mutex::default(),
            mail: AtomicU32::new(0),
        }
    }

    /// The committed and the free granules, read without taking the heap. Spans in the remote free list count
    /// as free.
    pub(crate) fn levels(&self) -> Levels {
        let Levels { committed, free } = Levels::from_word(self.levels.load(Relaxed));
        Levels { committed, free: free.saturating_add(self.mail.load(Relaxed)).min(committed) }
    }

    /// A hint, read without taking the heap: at least the length of the longest free block.
    #[inline]
    pub(crate) fn longest(&self) -> u32 {
        self.longest.load(Relaxed)
    }

    /// Makes the caller the owner of the heap. Returns `None` if the heap has an owner already.
    pub(crate) fn adopt(&self) -> Option<OwnHeap> {
        let owner = self.body.adopt()?;
        self.owned.store(true, Relaxed);
        Some(OwnHeap { index: self.index, owner })
    }

    pub(crate) fn is_home(&self) -> bool {
        self.owned.load(Relaxed)
    }

    /// Ends the ownership of this heap.
    pub(crate) fn leave(&self, own: OwnHeap) {
        self.owned.store(false, Relaxed);
        self.body.leave(own.owner);
    }

    /// Works on the heap as its owner. Uses no locked instructions unless another thread is at the heap.
    #[inline(always)]
    pub(crate) fn at_home<R>(&self, own: &mut OwnHeap, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        match self.body.enter(&mut own.owner) {
            Some(mut body) => self.open(&mut body, work),
            None => self.at_home_later(work),
        }
    }

    /// Out of line, because another thread is seldom at a heap that has an owner.
    #[cold]
    #[inline(never)]
    fn at_home_later<R>(&self, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        self.with(work)
    }

    /// Works on the heap from any thread.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        self.taken(self.body.take(), work)
    }

    /// As [`HeapSlot::with`], without waiting. Returns `None` if another thread is at the heap or the heap
    /// has an owner.
    #[inline]
    pub(crate) fn at_once<R>(&self, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> Option<R> {
        Some(self.taken(self.body.try_take()?, work))
    }

    #[inline(always)]
    fn taken<R>(&self, mut body: Taken<'_, Body>, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        let done = self.open(&mut body, work);
        let longest = body.heap.as_ref().map_or(0, |heap| heap.space.longest_at_most());
        // The bound is mostly unchanged. Skipping the store then leaves the readers' cache lines alone.
        let was = self.longest.load(Relaxed);
        if longest != was {
            self.longest.store(longest, Relaxed);
            self.holes.note(self.index, was, longest);
        }
        done
    }

    #[inline(always)]
    fn open<R>(&self, body: &mut Body, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        let mut open = HeapGuard { slot: self, body };
        if self.mail.load(Relaxed) > 0 {
            open.empty_inbox();
        }
        let done = work(&mut open);
        let levels = body.heap.as_ref().map_or(Levels::default(), |heap| heap.space.levels());
        self.levels.store(levels.into_word(), Relaxed);
        done
    }

    #[inline(always)]
    fn start(&self, records: &mut RecordTable, base: u64, placed: Placed) -> SpanHead {
        let address = base + (u64::from(placed.offset) << self.shift);
        SpanHead::new(records.record(placed.block), address)
    }

    fn range(&self, records: &mut RecordTable, base: u64, placed: Placed, want: SpanRequest) -> Span {
        Span::new(self.start(records, base, placed), want.len, want.class, self.index)
    }

    /// Gives back spans without waiting for the heap's owner, if it has one. The iterator runs while the heap
    /// or its remote free list is locked, so it must take no lock.
    pub(crate) fn release(&self, ranges: impl Iterator<Item = Span>) {
        if self.is_home() {
            let mut inbox = lock(&self.inbox);
            let before = inbox.len();
            inbox.extend(ranges);
            let len: u32 = inbox[before..].iter().map(Span::len).sum();
            self.mail.store(self.mail.load(Relaxed) + len, Relaxed);
        } else {
            self.with(|open| ranges.for_each(|range| open.release(range)));
        }
    }

    /// Puts a heap into an empty slot.
    pub(crate) fn install(&self, mut heap: Heap) {
        heap.space.set_base((heap.address >> self.shift) as u32);
        self.with(|open| open.body.heap = Some(heap));
    }

    pub(crate) fn metadata_bytes(&self) -> usize {
        self.with(|open| {
            let books = open.heap().map_or(0, |heap| heap.space.metadata_bytes());
            books + open.body.records.metadata_bytes()
        })
    }
}

/// Access to a slot that this thread has taken.
#[derive(Debug)]
pub(crate) struct HeapGuard<'a> {
    slot: &'a HeapSlot,
    body: &'a mut Body,
}

impl HeapGuard<'_> {
    pub(crate) fn heap(&self) -> Option<&Heap> {
        self.body.heap.as_ref()
    }

    pub(crate) fn heap_mut(&mut self) -> Option<&mut Heap> {
        self.body.heap.as_mut()
    }

    /// Takes the heap out of its slot.
    pub(crate) fn remove(&mut self) -> Option<Heap> {
        self.body.heap.take()
    }

    /// Takes the heap out of its slot if `wanted` accepts it.
    pub(crate) fn remove_if(&mut self, wanted: impl FnOnce(&Heap) -> bool) -> Option<Heap> {
        self.body.heap.take_if(|heap| wanted(heap))
    }

    /// Cuts `len` granules for a span at any address.
    #[inline(always)]
    pub(crate) fn begin(&mut self, len: u32) -> Option<SpanHead> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        let placed = heap.space.allocate_anywhere(len)?;
        Some(self.slot.start(records, heap.address, placed))
    }

    /// Cuts one span.
    #[inline(always)]
    pub(crate) fn allocate(&mut self, want: SpanRequest) -> Option<Span> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        let placed = heap.space.allocate(want.len, want.align)?;
        Some(self.slot.range(records, heap.address, placed, want))
    }

    /// As [`HeapGuard::allocate`], from a free block below `address`.
    pub(crate) fn allocate_below(&mut self, want: SpanRequest, address: u64) -> Option<Span> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        let limit = u32::try_from(address.checked_sub(heap.address)? >> self.slot.shift).ok()?;
        let placed = allocate_below(&mut heap.space, want.len, want.align, limit)?;
        Some(self.slot.range(records, heap.address, placed, want))
    }

    /// Cuts up to `count` neighbouring spans, and at least one, which it returns. The others go to `keep`.
    pub(crate) fn allocate_some(
        &mut self,
        want: SpanRequest,
        count: u32,
        mut keep: impl FnMut(Span),
    ) -> Option<Span> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        let Some(first) = heap.space.allocate(want.len * count, want.align) else {
            return self.allocate(want);
        };
        let mut block = first.block;
        for _ in 1..count {
            let placed = heap.space.split_used(block, want.len);
            block = placed.block;
            keep(self.slot.range(records, heap.address, placed, want));
        }
        Some(self.slot.range(records, heap.address, first, want))
    }

    /// The span of a block that the range allocator has just handed out.
    pub(crate) fn range(&mut self, placed: Placed, want: SpanRequest) -> Option<Span> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        Some(self.slot.range(records, heap.address, placed, want))
    }

    /// Gives back a span of this heap.
    #[inline(always)]
    pub(crate) fn release(&mut self, range: Span) {
        debug_assert_eq!(range.heap(), self.slot.index);
        let block = range.record().block();
        if range.class() == GROWING
            && let Some(heap) = &mut self.body.heap
        {
            heap.space.release_tail(block);
        }
        self.join(block);
    }

    /// Gives back the block of a span of this heap that does not grow.
    #[inline(always)]
    pub(crate) fn join(&mut self, block: u32) {
        if let Some(heap) = &mut self.body.heap {
            heap.space.release(block);
        }
    }

    /// The record of every block that is handed out.
    pub(crate) fn records(&self) -> impl Iterator<Item = &AllocRecord> {
        let used = self.heap().into_iter().flat_map(|heap| heap.space.used());
        used.filter_map(|placed| self.body.records.get(placed.block))
    }

    #[cold]
    fn empty_inbox(&mut self) {
        let mut inbox = lock(&self.slot.inbox);
        self.slot.mail.store(0, Relaxed);
        inbox.drain(..).for_each(|range| self.release(range));
    }
}

//! The table of the pool's heaps, and the choice of the heap that serves a request.
//!
//! Every heap has its own lock, and no lock covers all of them. The choice reads hints, which need no lock.
//! The table skips a heap that turns out not to fit. A thread that holds one heap must never wait for
//! another.
#![forbid(unsafe_code)]

use std::iter;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::config::{MAX_HEAPS, Strategy};
use crate::pool::heaps::fit_index::FitIndex;
use crate::pool::heaps::slot::{Heap, HeapGuard, HeapSlot, OwnHeap};
use crate::pool::heaps::span::{Span, SpanRequest};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct HeapTable {
    slots: Box<[HeapSlot]>,
    holes: Arc<FitIndex>,
    /// Slots up to here have held a heap; the others need not be looked at.
    known: AtomicUsize,
    strategy: Strategy,
    turn: AtomicUsize,
}

/// A set of slots already tried.
#[derive(Debug, Default, Clone, Copy)]
struct Tried(u64);

impl Tried {
    fn insert(&mut self, slot: usize) {
        self.0 |= 1 << slot;
    }

    fn contains(self, slot: usize) -> bool {
        self.0 & 1 << slot != 0
    }
}

impl HeapTable {
    /// `places` is at most [`MAX_HEAPS`].
    pub(crate) fn new(places: usize, shift: u32, strategy: Strategy) -> Self {
        let holes = Arc::<FitIndex>::default();
        let place = |index| HeapSlot::new(index as u16, shift, Arc::clone(&holes));
        let slots = (0..places.min(MAX_HEAPS)).map(place).collect();
        Self { slots, holes, known: AtomicUsize::new(0), strategy, turn: AtomicUsize::new(0) }
    }

    /// The slots that may hold a heap.
    pub(crate) fn slots(&self) -> &[HeapSlot] {
        &self.slots[..self.known.load(Acquire)]
    }

    /// The most heaps that there can be.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }

    #[inline(always)]
    pub(crate) fn slot(&self, heap: u16) -> &HeapSlot {
        &self.slots[usize::from(heap)]
    }

    /// Works on a heap as its owner; see [`HeapSlot::at_home`].
    #[inline(always)]
    pub(crate) fn at_home<R>(&self, own: &mut OwnHeap, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        self.slot(own.index()).at_home(own, work)
    }

    /// The first empty slot, if there is one.
    pub(crate) fn vacant(&self) -> Option<u16> {
        let place = self.slots.iter().position(|slot| slot.with(|open| open.heap().is_none()))?;
        Some(place as u16)
    }

    /// Puts a heap into an empty slot.
    pub(crate) fn install(&self, place: u16, heap: Heap) {
        self.slot(place).install(heap);
        self.known.fetch_max(usize::from(place) + 1, Release);
    }

    /// Takes a span from the heap that the strategy prefers, else from any other that fits.
    pub(crate) fn allocate(&self, want: SpanRequest) -> Option<Span> {
        self.allocate_with(want, |open| open.allocate(want))
    }

    /// As [`HeapTable::allocate`], where `cut` takes the span out of the heap.
    pub(crate) fn allocate_with(
        &self,
        want: SpanRequest,
        mut cut: impl FnMut(&mut HeapGuard<'_>) -> Option<Span>,
    ) -> Option<Span> {
        if let [only] = self.slots() {
            return only.with(cut);
        }
        let mut tried = Tried::default();
        while let Some((slot, other)) = self.choose(want, &mut tried) {
            let found = match other {
                Some(other) => cut_tighter(slot, other, want.len, &mut cut).or_else(|| slot.with(&mut cut)),
                None => slot.with(&mut cut),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The two heaps whose longest free blocks are shortest, among those that may fit. The older one comes
    /// first. Where both fit equally well, the older heap fills up and the pool may give the younger one
    /// back.
    fn tightest(&self, len: u32, tried: Tried) -> Option<(usize, Option<usize>)> {
        const NONE: u64 = u64::MAX;
        let (mut first, mut second) = (NONE, NONE);
        for heaps in self.holes.from(len) {
            for index in ones(heaps & !tried.0) {
                let longest = self.slots[index].longest();
                // Selected without a jump, because a branch on which of them fit is unpredictable.
                let key = if longest < len { NONE } else { u64::from(longest) << 32 | index as u64 };
                second = second.min(first.max(key));
                first = first.min(key);
            }
            // All that follow are longer.
            if second != NONE {
                break;
            }
        }
        let heap = |key: u64| key as u32 as usize;
        match (first, second) {
            (NONE, _) => None,
            (only, NONE) => Some((heap(only), None)),
            (a, b) => Some((heap(a).min(heap(b)), Some(heap(a).max(heap(b))))),
        }
    }

    /// The heaps that may have room, except those in `tried`, with bounds on their longest free blocks.
    fn fitting(&self, len: u32, tried: Tried) -> impl Iterator<Item = (usize, u32)> {
        let hints = self.slots().iter().map(HeapSlot::longest).enumerate();
        hints.filter(move |(index, longest)| *longest >= len && !tried.contains(*index))
    }

    /// As [`HeapTable::allocate`], without waiting for another thread. Returns `None` if the first choice
    /// cannot serve the request.
    pub(crate) fn allocate_at_once(&self, want: SpanRequest) -> Option<Span> {
        let cut = |open: &mut HeapGuard<'_>| open.allocate(want);
        if let [only] = self.slots() {
            return only.at_once(cut)?;
        }
        match self.choose(want, &mut Tried::default())? {
            (slot, Some(other)) => cut_tighter(slot, other, want.len, &mut { cut }),
            (slot, None) => slot.at_once(cut)?,
        }
    }

    /// The free granules in all heaps, read without disturbing any thread. What threads hold back counts as
    /// used.
    pub(crate) fn free(&self) -> u64 {
        self.slots().iter().map(|slot| u64::from(slot.levels().free)).sum()
    }

    /// The number of threads that have heaps of their own. Each has two.
    pub(crate) fn homes(&self) -> usize {
        self.slots().iter().filter(|slot| slot.is_home()).count() / 2
    }

    /// Brings the hints of thread-owned heaps up to date. The hints of the others always are.
    pub(crate) fn refresh_hints(&self) {
        self.slots().iter().filter(|slot| slot.is_home()).for_each(|slot| slot.with(|_| ()));
    }

    /// Gives spans back to their heaps. The iterator runs under locks; see [`HeapSlot::release`].
    pub(crate) fn release(&self, ranges: impl IntoIterator<Item = Span>) {
        let mut ranges = ranges.into_iter().peekable();
        while let Some(heap) = ranges.peek().map(Span::heap) {
            // One visit returns all the spans that follow for the same heap.
            self.slot(heap).release(iter::from_fn(|| ranges.next_if(|range| range.heap() == heap)));
        }
    }

    /// The next heap to try, and one that may do better. A heap that seems to fit may not; the caller then
    /// asks again.
    fn choose(&self, want: SpanRequest, tried: &mut Tried) -> Option<(&HeapSlot, Option<&HeapSlot>)> {
        let fitting = |tried| self.fitting(want.len, tried);
        let (index, other) = match self.strategy {
            Strategy::RoundRobin => {
                // Turns are advice: two threads that read the same one do no harm.
                let turn = self.turn.load(Relaxed);
                let mut in_turn = fitting(*tried).filter(|(index, _)| *index >= turn);
                let (index, _) = in_turn.next().or_else(|| fitting(*tried).next())?;
                self.turn.store(index + 1, Relaxed);
                (index, None)
            }
            Strategy::LeastUsed => {
                let emptiest = fitting(*tried).max_by_key(|(index, _)| self.slots[*index].levels().free);
                (emptiest?.0, None)
            }
            Strategy::BestFit => self.tightest(want.len, *tried)?,
        };
        tried.insert(index);
        Some((&self.slots[index], other.map(|other| &self.slots[other])))
    }
}

/// The positions of the ones in a word, highest first.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    iter::from_fn(move || {
        let place = word.checked_ilog2()?;
        word ^= 1 << place;
        Some(place as usize)
    })
}

/// Cuts from the heap whose free block fits more tightly. It may hold both heaps at once, so it waits for
/// neither.
fn cut_tighter(
    slot: &HeapSlot,
    other: &HeapSlot,
    len: u32,
    cut: &mut impl FnMut(&mut HeapGuard<'_>) -> Option<Span>,
) -> Option<Span> {
    let found = slot.at_once(|open| {
        let hole = open.heap()?.space.best_fit(len);
        let if_tighter = |other: &mut HeapGuard<'_>| {
            let tighter = other.heap()?.space.best_fit(len)? < hole.unwrap_or(u32::MAX);
            if tighter { cut(other) } else { None }
        };
        // A free block of the exact length cannot be bettered.
        let found = if hole == Some(len) { None } else { other.at_once(if_tighter).flatten() };
        found.or_else(|| hole.and_then(|_| cut(open)))
    });
    found.unwrap_or_else(|| other.at_once(cut)?)
}

//! The pool's heaps, and which of them serves a request.
//!
//! Every heap has its own lock; there is no lock over all of them. Choosing looks at hints, which
//! need no lock, and a heap that turns out not to fit is simply passed over.
#![forbid(unsafe_code)]

use std::iter;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use arrayvec::ArrayVec;

use super::heap::{Open, Slot};
use super::range::Range;
use crate::config::{MAX_HEAPS, Strategy};
use crate::device::Memory;
use crate::heap::Space;

/// How many heaps best-fit asks for their tightest hole.
const ASKED: usize = 4;

/// What is wanted of a heap. Lengths are granules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub(crate) class: u16,
    pub(crate) len: u32,
    pub(crate) align: u32,
}

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct Heaps {
    slots: Box<[Slot]>,
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

impl Heaps {
    /// `places` is at most [`MAX_HEAPS`].
    pub(crate) fn new(places: usize, shift: u32, strategy: Strategy) -> Self {
        let slots = (0..places.min(MAX_HEAPS)).map(|index| Slot::new(index as u16, shift)).collect();
        Self { slots, known: AtomicUsize::new(0), strategy, turn: AtomicUsize::new(0) }
    }

    /// The slots that may hold a heap.
    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots[..self.known.load(Acquire)]
    }

    /// How many heaps there can be.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn slot(&self, heap: u16) -> &Slot {
        &self.slots[usize::from(heap)]
    }

    /// Puts a heap into the first empty place; `None` if there is none.
    pub(crate) fn install(&self, space: Space, memory: Arc<dyn Memory>, elastic: bool) -> Option<u16> {
        let index = self.slots.iter().position(|slot| slot.with(|open| open.heap().is_none()))?;
        self.slots[index].install(space, memory, elastic);
        self.known.fetch_max(index + 1, Release);
        Some(index as u16)
    }

    /// Takes a range from the heap the strategy prefers, else from any other that fits.
    pub(crate) fn allocate(&self, want: Want) -> Option<Range> {
        self.allocate_with(want, |open| open.allocate(want))
    }

    /// As [`Heaps::allocate`], where `cut` takes the range out of the heap.
    pub(crate) fn allocate_with(
        &self,
        want: Want,
        mut cut: impl FnMut(&mut Open<'_>) -> Option<Range>,
    ) -> Option<Range> {
        if let [only] = self.slots() {
            return only.with(cut);
        }
        let mut tried = Tried::default();
        while let Some(index) = self.choose(want, &mut tried) {
            let found = self.slots[index].with(&mut cut);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// As [`Heaps::allocate`], without waiting for another thread; `None` if that takes more than one
    /// look at one heap.
    pub(crate) fn allocate_at_once(&self, want: Want) -> Option<Range> {
        let slot = match self.slots() {
            [only] => only,
            // Looks into heaps to choose one.
            _ if self.strategy == Strategy::BestFit => return None,
            slots => &slots[self.choose(want, &mut Tried::default())?],
        };
        slot.at_once(|open| open.allocate(want))?
    }

    /// Free granules in all heaps, nobody disturbed; what threads hold back counts as used.
    pub(crate) fn free(&self) -> u64 {
        self.slots().iter().map(|slot| u64::from(slot.levels().free)).sum()
    }

    /// How many threads have heaps of their own; each has two.
    pub(crate) fn homes(&self) -> usize {
        self.slots().iter().filter(|slot| slot.is_home()).count() / 2
    }

    /// Brings the hints of heaps that have owners up to date; those of the others always are.
    pub(crate) fn refresh_hints(&self) {
        self.slots().iter().filter(|slot| slot.is_home()).for_each(|slot| slot.with(|_| ()));
    }

    /// Gives ranges back to their heaps. They are asked for under locks, see [`Slot::release`].
    pub(crate) fn release(&self, ranges: impl IntoIterator<Item = Range>) {
        let mut ranges = ranges.into_iter().peekable();
        while let Some(heap) = ranges.peek().map(Range::heap) {
            // All that follow for the same heap, in one visit.
            self.slot(heap).release(iter::from_fn(|| ranges.next_if(|range| range.heap() == heap)));
        }
    }

    /// The next heap to try. A heap that looks as if it fitted may not; the caller comes again.
    fn choose(&self, want: Want, tried: &mut Tried) -> Option<usize> {
        let fitting = |tried: Tried| {
            let slots = self.slots().iter().enumerate();
            slots.filter(move |(index, slot)| slot.longest() >= want.len && !tried.contains(*index))
        };
        let index = match self.strategy {
            Strategy::RoundRobin => {
                // Turns are advice: two threads that read the same one do no harm.
                let turn = self.turn.load(Relaxed);
                let mut in_turn = fitting(*tried).filter(|(index, _)| *index >= turn);
                let (index, _) = in_turn.next().or_else(|| fitting(*tried).next())?;
                self.turn.store(index + 1, Relaxed);
                index
            }
            Strategy::LeastUsed => fitting(*tried).max_by_key(|(_, slot)| slot.levels().free)?.0,
            Strategy::BestFit => loop {
                let asked = fullest(fitting(*tried));
                if asked.is_empty() {
                    return None;
                }
                let hole =
                    |index: usize| self.slots[index].with(|open| open.heap()?.space.best_fit(want.len));
                let holes = asked.iter().filter_map(|(_, index)| hole(*index).map(|len| (len, *index)));
                match holes.min() {
                    Some((_, tightest)) => break tightest,
                    None => asked.iter().for_each(|(_, index)| tried.insert(*index)),
                }
            },
        };
        tried.insert(index);
        Some(index)
    }
}

/// The few heaps whose longest hole is shortest, with that length.
fn fullest<'a>(fitting: impl Iterator<Item = (usize, &'a Slot)>) -> ArrayVec<(u32, usize), ASKED> {
    let mut asked: ArrayVec<(u32, usize), ASKED> = ArrayVec::new();
    for (index, slot) in fitting {
        let hint = slot.longest();
        if asked.is_full() {
            let emptiest = asked.iter_mut().max_by_key(|(longest, _)| *longest);
            if let Some(place) = emptiest.filter(|(longest, _)| *longest > hint) {
                *place = (hint, index);
            }
        } else {
            asked.push((hint, index));
        }
    }
    asked
}

//! One thread's own free ranges: where nearly every request ends.
//!
//! A stack of ranges for each class, newest first: its record is the likeliest to be in the CPU's
//! cache. The cache owns what it holds until it is asked for it back; it never talks to heaps or
//! devices, it only says which ranges should leave. Large ranges are not kept: holding them back
//! costs more in packing than it saves in time. Only those on their way to another thread's heap wait
//! for a few more, as far as the bounds allow, so that the two threads need not meet for each.
//!
//! Two bounds keep it honest: ranges in one stack, and bytes in all. Past the bytes, a hand goes
//! round the stacks and evicts from those that were not used since its last visit.
#![allow(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::vec::Drain;

use arrayvec::ArrayVec;

use crate::pool::cache::size_class::CLASSES;
use crate::pool::heaps::span::Span;

/// The most ranges in one stack; half of them move at a time.
pub(crate) const MAGAZINE: usize = 64;
/// The most ranges that leave to make room for one.
const EVICTED: usize = 8;
/// The most large ranges that go to other threads' heaps together.
const POSTED: usize = 8;

/// Ranges on their way out of a cache.
pub(crate) type Leaving = ArrayVec<Span, EVICTED>;

#[derive(Debug, Default)]
struct Magazine {
    ranges: Vec<Span>,
    used: bool,
}

/// The newest range of a stack.
#[derive(Debug)]
pub(crate) struct Top<'a> {
    stack: &'a mut Magazine,
    last: usize,
}

impl Top<'_> {
    #[inline(always)]
    pub(crate) fn take(self, held: &AtomicU64) -> Span {
        self.stack.used = true;
        let ranges = &mut self.stack.ranges;
        // SAFETY: `last` is the last index of this stack, which has been borrowed since it was
        // read; the range is moved out and no longer counted.
        let range = unsafe {
            ranges.set_len(self.last);
            ranges.as_ptr().add(self.last).read()
        };
        take_from(held, range.len().into());
        range
    }
}

/// A free place in a stack.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    stack: &'a mut Magazine,
    after: u64,
}

impl Room<'_> {
    #[inline(always)]
    pub(crate) fn fill(self, range: Span, held: &AtomicU64) {
        let ranges = &mut self.stack.ranges;
        let len = ranges.len();
        // SAFETY: the stack was found to have capacity for one more, and has been borrowed since.
        unsafe {
            ranges.as_mut_ptr().add(len).write(range);
            ranges.set_len(len + 1);
        }
        held.store(self.after, Relaxed);
    }
}

/// See the module's essay. Lengths are granules.
///
/// The granules held are counted in a `held` beside the cache, which every method is given: it is
/// read by statistics at any time, while the cache itself is its thread's alone.
#[derive(Debug)]
pub(crate) struct ThreadCache {
    stacks: Box<[Magazine; CLASSES]>,
    /// Large ranges on their way to other threads' heaps.
    posted: ArrayVec<Span, POSTED>,
    hand: usize,
    limit: u64,
    closed: bool,
}

impl ThreadCache {
    /// A cache that holds at most `limit` granules.
    pub(crate) fn new(limit: u64) -> Self {
        let stacks = Box::new(std::array::from_fn(|_| Magazine::default()));
        Self { stacks, posted: ArrayVec::new(), hand: 0, limit, closed: false }
    }

    /// Changes the bound. What is over it leaves as ranges come in.
    #[inline]
    pub(crate) fn set_limit(&mut self, limit: u64) {
        if !self.closed {
            self.limit = limit;
        }
    }

    /// Refuses every range from now on: the pool is shutting down.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.limit = 0;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The newest range of a class, which stays until it is taken.
    #[inline(always)]
    pub(crate) fn top(&mut self, class: u32) -> Option<Top<'_>> {
        let stack = self.stacks.get_mut(class as usize)?;
        let last = stack.ranges.len().checked_sub(1)?;
        Some(Top { stack, last })
    }

    /// Takes the newest range of a class.
    pub(crate) fn pop(&mut self, class: u32, held: &AtomicU64) -> Option<Span> {
        self.top(class).map(|top| top.take(held))
    }

    /// Room for a range of `len` granules in a class; `None` if a bound is in the way, or the class
    /// is none that is cached.
    #[inline(always)]
    pub(crate) fn room(&mut self, class: u16, len: u32, held: &AtomicU64) -> Option<Room<'_>> {
        let stack = self.stacks.get_mut(usize::from(class))?;
        let after = held.load(Relaxed) + u64::from(len);
        // A stack's capacity is 0 at first and MAGAZINE from its first range on.
        if after > self.limit || stack.ranges.len() == stack.ranges.capacity() {
            return None;
        }
        Some(Room { stack, after })
    }

    /// Keeps a range, or hands it back if there is no room.
    #[inline(always)]
    pub(crate) fn push(&mut self, range: Span, held: &AtomicU64) -> Result<(), Span> {
        if let Some(stack) = self.stacks.get_mut(usize::from(range.class()))
            && stack.ranges.capacity() == 0
        {
            stack.ranges.reserve_exact(MAGAZINE);
        }
        match self.room(range.class(), range.len(), held) {
            Some(room) => {
                room.fill(range, held);
                Ok(())
            }
            None => Err(range),
        }
    }

    /// Takes in ranges of `class`, of which none are left, all of `len` granules, and answers one of
    /// them. `fill` puts them on the stack it is given, up to the number it is told.
    pub(crate) fn take_in(
        &mut self,
        class: u32,
        len: u32,
        held: &AtomicU64,
        fill: impl FnOnce(&mut Vec<Span>, usize),
    ) -> Option<Span> {
        let stack = self.stacks.get_mut(class as usize)?;
        let in_bytes = self.limit.saturating_sub(held.load(Relaxed)) / u64::from(len);
        // One more: it does not stay.
        let most = (MAGAZINE / 2).min(in_bytes as usize + 1);
        stack.ranges.reserve_exact(MAGAZINE);
        fill(&mut stack.ranges, most);
        let range = stack.ranges.pop()?;
        held.store(held.load(Relaxed) + stack.ranges.len() as u64 * u64::from(len), Relaxed);
        Some(range)
    }

    /// Takes the older ranges of a class's stack, all but the newest `kept`, if they are enough to be
    /// worth a way to the depot.
    pub(crate) fn overflow(&mut self, class: u16, kept: usize, held: &AtomicU64) -> Option<Drain<'_, Span>> {
        let stack = self.stacks.get_mut(usize::from(class))?;
        let older = stack.ranges.len().checked_sub(kept).filter(|older| *older >= MAGAZINE / 2)?;
        let older = stack.ranges.drain(..older);
        take_from(held, older.as_slice().iter().map(|range| u64::from(range.len())).sum());
        Some(older)
    }

    /// Keeps a large range of another thread's heap for a while, or hands it back if it is time for it
    /// to go there, with those that [`ThreadCache::mail`] has.
    pub(crate) fn post(&mut self, range: Span, held: &AtomicU64) -> Result<(), Span> {
        let after = held.load(Relaxed) + u64::from(range.len());
        if after > self.limit || self.posted.is_full() {
            return Err(range);
        }
        self.posted.push(range);
        held.store(after, Relaxed);
        Ok(())
    }

    /// Takes the large ranges that are on their way to other threads' heaps.
    pub(crate) fn mail(&mut self, held: &AtomicU64) -> impl Iterator<Item = Span> {
        take_from(held, self.posted.iter().map(|range| u64::from(range.len())).sum());
        self.posted.drain(..)
    }

    /// Makes room for `len` granules: ranges that were not used lately, oldest first, up to a few.
    /// Nothing if the room is there already, or if one range would take too much of it.
    pub(crate) fn make_room(&mut self, len: u32, held: &AtomicU64) -> Leaving {
        let mut leaving = Leaving::new();
        let goal = self.limit.saturating_sub(len.into());
        if goal < self.limit / 4 * 3 && held.load(Relaxed) <= self.limit {
            return leaving;
        }
        self.evict(goal, EVICTED, held, |range| leaving.push(range));
        leaving
    }

    /// Takes a part of what is there, large ranges and those that were not used lately first; everything, if that
    /// is not much.
    pub(crate) fn shed(&mut self, held: &AtomicU64) -> Vec<Span> {
        let before = held.load(Relaxed);
        let mut leaving: Vec<Span> = self.mail(held).collect();
        let goal = if before > self.limit / 8 { before / 4 * 3 } else { 0 };
        self.evict(goal, usize::MAX, held, |range| leaving.push(range));
        leaving
    }

    /// Takes ranges that were not used lately, oldest first, up to `most`, until no more than `goal`
    /// granules are held.
    fn evict(&mut self, goal: u64, most: usize, held: &AtomicU64, mut leave: impl FnMut(Span)) {
        let mut left = most;
        // Twice round: the first visit may only clear the marks.
        for _ in 0..2 * CLASSES {
            if held.load(Relaxed) <= goal || left == 0 {
                break;
            }
            let stack = &mut self.stacks[self.hand];
            if std::mem::take(&mut stack.used) || stack.ranges.is_empty() {
                self.hand = (self.hand + 1) % CLASSES;
                continue;
            }
            let count = stack.ranges.len().min(left);
            left -= count;
            for range in stack.ranges.drain(..count) {
                take_from(held, range.len().into());
                leave(range);
            }
        }
    }

    /// Takes everything.
    pub(crate) fn empty(&mut self, held: &AtomicU64) -> Vec<Span> {
        held.store(0, Relaxed);
        let stacks = self.stacks.iter_mut().flat_map(|stack| stack.ranges.drain(..));
        stacks.chain(self.posted.drain(..)).collect()
    }
}

/// Only the thread that holds the cache writes its count, so a load and a store will do.
#[inline(always)]
fn take_from(held: &AtomicU64, len: u64) {
    held.store(held.load(Relaxed).wrapping_sub(len), Relaxed);
}

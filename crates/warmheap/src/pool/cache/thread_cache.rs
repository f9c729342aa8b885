//! The thread cache: one thread's own free spans, which serve nearly every request.
//!
//! The cache has a magazine of spans for each class, newest first, because the record of the newest span is
//! the likeliest to be in the CPU's cache. The cache owns its spans until it is asked for them. It must never
//! talk to heaps or devices; it only says which spans should leave.
//!
//! The cache does not keep large spans, because that would cost more in packing than it saves in time. Only
//! large spans on their way to another thread's heap wait here for a few more, within the bounds, so that the
//! two threads need not meet for each span.
//!
//! Two bounds limit the cache: the spans in one magazine, and the bytes in all. Past the bound on bytes, a
//! clock hand goes round the magazines and evicts from those that were not used since its last visit.
#![allow(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::vec::Drain;

use arrayvec::ArrayVec;

use crate::pool::cache::size_class::CLASSES;
use crate::pool::heaps::span::Span;

/// The most spans in one magazine. Half of them move at a time.
pub(crate) const MAGAZINE: usize = 64;
/// The most spans that leave to make room for one.
const EVICTED: usize = 8;
/// The most large spans that go to other threads' heaps together.
const REMOTE: usize = 8;

/// Spans on their way out of a cache.
pub(crate) type Leaving = ArrayVec<Span, EVICTED>;

#[derive(Debug, Default)]
struct Magazine {
    spans: Vec<Span>,
    used: bool,
}

/// The newest span of a magazine.
#[derive(Debug)]
pub(crate) struct Top<'a> {
    stack: &'a mut Magazine,
    last: usize,
}

impl Top<'_> {
    #[inline(always)]
    pub(crate) fn take(self, held: &AtomicU64) -> Span {
        self.stack.used = true;
        let spans = &mut self.stack.spans;
        // SAFETY: `last` is the last index of this magazine, which has been borrowed since the index was
        // read. The span is moved out and no longer counted.
        let span = unsafe {
            spans.set_len(self.last);
            spans.as_ptr().add(self.last).read()
        };
        take_from(held, span.len().into());
        span
    }
}

/// Room for one span in a magazine.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    stack: &'a mut Magazine,
    after: u64,
}

impl Room<'_> {
    #[inline(always)]
    pub(crate) fn fill(self, span: Span, held: &AtomicU64) {
        let spans = &mut self.stack.spans;
        let len = spans.len();
        // SAFETY: the magazine was found to have capacity for one more span, and has been borrowed since.
        unsafe {
            spans.as_mut_ptr().add(len).write(span);
            spans.set_len(len + 1);
        }
        held.store(self.after, Relaxed);
    }
}

/// See the module's documentation. Lengths are granules.
///
/// A `held` beside the cache counts the granules in it, and every method receives that counter. Statistics
/// read it at any time, while only its thread uses the cache itself.
#[derive(Debug)]
pub(crate) struct ThreadCache {
    stacks: Box<[Magazine; CLASSES]>,
    /// The remote cache: large spans on their way to other threads' heaps.
    remote: ArrayVec<Span, REMOTE>,
    hand: usize,
    limit: u64,
    closed: bool,
}

impl ThreadCache {
    /// A cache that holds at most `limit` granules.
    pub(crate) fn new(limit: u64) -> Self {
        let stacks = Box::new(std::array::from_fn(|_| Magazine::default()));
        Self { stacks, remote: ArrayVec::new(), hand: 0, limit, closed: false }
    }

    /// Changes the bound. Spans over the new bound leave as other spans come in.
    #[inline]
    pub(crate) fn set_limit(&mut self, limit: u64) {
        if !self.closed {
            self.limit = limit;
        }
    }

    /// Refuses every span from now on, because the pool is closing.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.limit = 0;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The newest span of a class, which stays until it is taken.
    #[inline(always)]
    pub(crate) fn top(&mut self, class: u32) -> Option<Top<'_>> {
        let stack = self.stacks.get_mut(class as usize)?;
        let last = stack.spans.len().checked_sub(1)?;
        Some(Top { stack, last })
    }

    /// Takes the newest span of a class.
    pub(crate) fn pop(&mut self, class: u32, held: &AtomicU64) -> Option<Span> {
        self.top(class).map(|top| top.take(held))
    }

    /// Room for a span of `len` granules in a class. Returns `None` if a bound prevents it or no cache keeps
    /// the class.
    #[inline(always)]
    pub(crate) fn room(&mut self, class: u16, len: u32, held: &AtomicU64) -> Option<Room<'_>> {
        let stack = self.stacks.get_mut(usize::from(class))?;
        let after = held.load(Relaxed) + u64::from(len);
        // A magazine's capacity is 0 at first, and `MAGAZINE` from its first span on.
        if after > self.limit || stack.spans.len() == stack.spans.capacity() {
            return None;
        }
        Some(Room { stack, after })
    }

    /// Keeps a span, or returns it as the error if there is no room.
    #[inline(always)]
    pub(crate) fn push(&mut self, span: Span, held: &AtomicU64) -> Result<(), Span> {
        if let Some(stack) = self.stacks.get_mut(usize::from(span.class()))
            && stack.spans.capacity() == 0
        {
            stack.spans.reserve_exact(MAGAZINE);
        }
        match self.room(span.class(), span.len(), held) {
            Some(room) => {
                room.fill(span, held);
                Ok(())
            }
            None => Err(span),
        }
    }

    /// Takes in spans of `class`, all of `len` granules, when the cache has none of that class left. Returns
    /// one of them. `fill` pushes the spans onto the magazine that it is given, up to the number that it is
    /// given.
    pub(crate) fn take_in(
        &mut self,
        class: u32,
        len: u32,
        held: &AtomicU64,
        fill: impl FnOnce(&mut Vec<Span>, usize),
    ) -> Option<Span> {
        let stack = self.stacks.get_mut(class as usize)?;
        let in_bytes = self.limit.saturating_sub(held.load(Relaxed)) / u64::from(len);
        // One more than the bound allows, because that one does not stay.
        let most = (MAGAZINE / 2).min(in_bytes as usize + 1);
        stack.spans.reserve_exact(MAGAZINE);
        fill(&mut stack.spans, most);
        let span = stack.spans.pop()?;
        held.store(held.load(Relaxed) + stack.spans.len() as u64 * u64::from(len), Relaxed);
        Some(span)
    }

    /// Takes the older spans of a class's magazine, all but the newest `kept`. Returns `None` if they are too
    /// few to be worth a way to the depot.
    pub(crate) fn overflow(&mut self, class: u16, kept: usize, held: &AtomicU64) -> Option<Drain<'_, Span>> {
        let stack = self.stacks.get_mut(usize::from(class))?;
        let older = stack.spans.len().checked_sub(kept).filter(|older| *older >= MAGAZINE / 2)?;
        let older = stack.spans.drain(..older);
        take_from(held, older.as_slice().iter().map(|span| u64::from(span.len())).sum());
        Some(older)
    }

    /// Keeps a large span of another thread's heap for a while. Returns it as the error once it is time for
    /// it to go there, together with those that [`ThreadCache::take_remote`] returns.
    pub(crate) fn keep_remote(&mut self, span: Span, held: &AtomicU64) -> Result<(), Span> {
        let after = held.load(Relaxed) + u64::from(span.len());
        if after > self.limit || self.remote.is_full() {
            return Err(span);
        }
        self.remote.push(span);
        held.store(after, Relaxed);
        Ok(())
    }

    /// Takes the large spans that are on their way to other threads' heaps.
    pub(crate) fn take_remote(&mut self, held: &AtomicU64) -> impl Iterator<Item = Span> {
        take_from(held, self.remote.iter().map(|span| u64::from(span.len())).sum());
        self.remote.drain(..)
    }

    /// Makes room for `len` granules. Takes a few spans that were not used lately, oldest first. Takes none
    /// if the room is there already, or if one span would use too much of it.
    pub(crate) fn make_room(&mut self, len: u32, held: &AtomicU64) -> Leaving {
        let mut leaving = Leaving::new();
        let goal = self.limit.saturating_sub(len.into());
        if goal < self.limit / 4 * 3 && held.load(Relaxed) <= self.limit {
            return leaving;
        }
        self.evict(goal, EVICTED, held, |span| leaving.push(span));
        leaving
    }

    /// Takes a part of what is there, large spans and those that were not used lately first. Takes everything
    /// if that is not much.
    pub(crate) fn shed(&mut self, held: &AtomicU64) -> Vec<Span> {
        let before = held.load(Relaxed);
        let mut leaving: Vec<Span> = self.take_remote(held).collect();
        let goal = if before > self.limit / 8 { before / 4 * 3 } else { 0 };
        self.evict(goal, usize::MAX, held, |span| leaving.push(span));
        leaving
    }

    /// Takes spans that were not used lately, oldest first and up to `most`, until the cache holds no more
    /// than `goal` granules.
    fn evict(&mut self, goal: u64, most: usize, held: &AtomicU64, mut leave: impl FnMut(Span)) {
        let mut left = most;
        // The hand goes round twice, because its first visit may only clear the marks.
        for _ in 0..2 * CLASSES {
            if held.load(Relaxed) <= goal || left == 0 {
                break;
            }
            let stack = &mut self.stacks[self.hand];
            if std::mem::take(&mut stack.used) || stack.spans.is_empty() {
                self.hand = (self.hand + 1) % CLASSES;
                continue;
            }
            let count = stack.spans.len().min(left);
            left -= count;
            for span in stack.spans.drain(..count) {
                take_from(held, span.len().into());
                leave(span);
            }
        }
    }

    /// Takes everything.
    pub(crate) fn empty(&mut self, held: &AtomicU64) -> Vec<Span> {
        held.store(0, Relaxed);
        let stacks = self.stacks.iter_mut().flat_map(|stack| stack.spans.drain(..));
        stacks.chain(self.remote.drain(..)).collect()
    }
}

/// Only the thread that holds the cache writes its count, so a load and a store will do.
#[inline(always)]
fn take_from(held: &AtomicU64, len: u64) {
    held.store(held.load(Relaxed).wrapping_sub(len), Relaxed);
}

//! Taking back a range that this thread's cache refused.
//!
//! A buffer holds no reference count on its pool, so care is needed about the pool's end: once a
//! range is back, nothing of ours may keep a closed pool alive. While a thread is inside its own
//! cache, the pool cannot end (closing takes every cache); a thread that cannot enter takes a
//! counted reference first, while its range is still out.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cache::MAGAZINE;
use super::home::OwnHeaps;
use super::local::{Local, Own, Session};
use super::lock;
use super::range::{EXACT, FALLBACK, GROWING, Range};
use super::shared::Shared;
use crate::config::Scrub;

impl Shared {
    /// Takes back a range whose buffer had asked for `size` bytes. Answers what keeps the pool until the
    /// caller refers to it no more, if that is needed.
    #[inline]
    pub(crate) fn reclaim(&self, range: Range, size: u64) -> Option<Arc<Self>> {
        let refused = if range.is_special() { Some(range) } else { self.keep_back(range, size) };
        let range = refused?;
        // The range is still out, so the pool is still there to be referenced.
        let keep = self.me.upgrade();
        self.reclaim_directly(range, size);
        keep
    }

    /// As [`Shared::reclaim`], if that calls no device and waits for no queue; else returns the range.
    pub(crate) fn reclaim_at_once(&self, range: Range, size: u64) -> Result<(), Range> {
        if range.is_special() { Err(range) } else { self.keep_back(range, size).map_or(Ok(()), Err) }
    }

    /// Takes back a range in this thread's session, and hands it back if it cannot have one.
    #[inline]
    fn keep_back(&self, range: Range, size: u64) -> Option<Range> {
        let mut range = Some(range);
        if self.config.scrub == Scrub::Never {
            self.session(|session| {
                if session.own.cache.is_closed() {
                    return None;
                }
                if self.config.track_statistics {
                    session.local.counters.freed(size, &self.peak);
                }
                self.settle(session, range.take()?);
                Some(())
            });
        }
        range
    }

    /// Sees to the marks of a range; `None` if it must wait for a queue first.
    #[cold]
    fn settle_marks(&self, mut range: Range, size: u64) -> Option<Range> {
        if range.forget_debt() {
            range = self.hold_for_debt(range, size)?;
        }
        if range.unmeter() {
            self.quotas.give(range.tenant().tag(), size);
        }
        Some(range)
    }

    /// Finds a place for a range: the cache, the depot, or its heap.
    #[inline]
    fn settle(&self, session: &mut Session<'_>, range: Range) {
        let held = &session.local.held;
        let Own { cache, heaps } = &mut *session.own;
        match range.class() {
            EXACT if self.is_others(range.heap(), heaps.places()) => {
                if let Err(range) = cache.post(range, held) {
                    self.heaps.release(cache.mail(held).chain([range]));
                }
            }
            EXACT | GROWING => self.release(heaps, [range]),
            class => {
                // Who has never been cut anything only frees, and others wait for what is freed.
                let kept = if heaps.is_undecided() { 0 } else { MAGAZINE / 2 };
                if let Some(older) = cache.overflow(class, kept, held) {
                    if self.depot.has_room(u64::from(range.len()) * MAGAZINE as u64) {
                        self.depot.put(class, older);
                    } else {
                        self.heaps.release(older);
                    }
                }
                let mut leaving = cache.make_room(range.len(), held);
                let refused = cache.push(range, held).err();
                self.release(heaps, leaving.drain(..).chain(refused));
            }
        }
    }

    /// Gives ranges back to their heaps; to this thread's own without a lock.
    #[inline]
    pub(crate) fn release(&self, heaps: &mut OwnHeaps, ranges: impl IntoIterator<Item = Range>) {
        if !matches!(heaps, OwnHeaps::Pair(_)) {
            return self.heaps.release(ranges);
        }
        for range in ranges {
            match heaps.at(range.heap()) {
                Some(own) => self.heaps.at_home(own, |open| open.release(range)),
                None => self.heaps.release([range]),
            }
        }
    }

    /// The way for what is special, for threads without a cache, closed pools, and memory that must be
    /// cleared first. The caller holds a reference.
    ///
    /// Foreign code runs here, a destructor of the device's above all: outside of every lock and session.
    #[cold]
    #[inline(never)]
    fn reclaim_directly(&self, range: Range, size: u64) {
        // What a process has inherited it leaves alone: its parent has the range.
        if !self.process.is_current() {
            return;
        }
        if let Some(range) = self.settle_marks(range, size) {
            let refused = if range.is_fallback() { Some(range) } else { self.keep_back(range, size) };
            if let Some(range) = refused {
                if self.config.track_statistics {
                    let shard = |local: &Local| local.counters.freed(size, &self.peak);
                    self.count(shard, |past| past.freed(size, &self.peak));
                }
                self.clean_and_put_back(range, size);
            }
        }
        self.bury();
        self.speak();
    }

    /// As [`Shared::put_back`], cleared first if the settings say so.
    pub(crate) fn clean_and_put_back(&self, range: Range, size: u64) {
        match self.config.scrub {
            Scrub::Never => self.put_back(range),
            Scrub::OnFree => _ = self.clear_and_put_back(range, size),
        }
    }

    /// Gives a range back to its heap or the device, past all caches.
    pub(crate) fn put_back(&self, range: Range) {
        if range.class() == FALLBACK {
            self.note_end(self.fallback.free(&self.driver, &range));
        } else {
            self.heaps.release([range]);
        }
    }

    /// Lets go of a closed pool if its last buffer is back. The caller holds a reference.
    pub(crate) fn bury(&self) {
        if !self.closed.load(Ordering::SeqCst) {
            return;
        }
        // A thread may have been on its way to the depot when the pool closed.
        self.heaps.release(self.depot.empty());
        self.give_up_withheld();
        let mut orphans = lock(&self.orphans);
        let last: Option<Arc<Self>> = if self.live_ranges() == 0 { orphans.take() } else { None };
        drop(orphans);
        drop(last);
    }
}

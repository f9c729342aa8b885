//! Taking back a range that this thread's cache refused.
//!
//! A buffer holds no reference count on its pool, so care is needed about the pool's end: once a
//! range is back, nothing of ours may keep a closed pool alive. While a thread is inside its own
//! cache, the pool cannot end (closing takes every cache); a thread that cannot enter takes a
//! counted reference first, while its range is still out.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::config::Scrub;
use crate::pool::cache::thread_cache::MAGAZINE;
use crate::pool::cache::thread_state;
use crate::pool::cache::thread_state::{CacheGuard, Own, ThreadState};
use crate::pool::core::buffer::Buffer;
use crate::pool::core::{Core, closing, notes, quarantine, queues};
use crate::pool::heaps::span::{EXACT, GROWING, Span};
use crate::pool::in_flight::early_reuse::PendingTicket;
use crate::pool::path::hit;

impl Buffer {
    /// For bindings: frees the buffer if that calls no device and waits for no queue; else returns it, to
    /// be dropped where the caller may wait. Locks that are held for moments are waited for.
    ///
    /// # Errors
    /// The buffer, unchanged.
    pub fn free_at_once(self) -> Result<(), Self> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: a pool ends only when none of its buffers is left, and this one's range is out until
        // one of the two calls below has taken it. Neither uses the pool afterwards.
        let pool = unsafe { this.pool.as_ref() };
        let (class, len, size) = (this.range.class(), this.range.len(), this.size);
        // SAFETY: called once in all: `free` calls it only when it returns true. What the second call
        // returns is put in its place again.
        let mut range = || unsafe { ManuallyDrop::take(&mut this.range) };
        if hit::free(pool, class, len, size, &mut range) {
            return Ok(());
        }
        match reclaim_at_once(pool, range(), size) {
            Ok(()) => Ok(()),
            Err(range) => {
                this.range = ManuallyDrop::new(range);
                Err(ManuallyDrop::into_inner(this))
            }
        }
    }
}

impl Drop for Buffer {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: a pool ends only when none of its buffers is left, and this one's range is out
        // until one of the calls below has taken it. None uses the pool afterwards.
        let pool = unsafe { self.pool.as_ref() };
        let (class, len) = (self.range.class(), self.range.len());
        let size = self.size;
        // SAFETY: called once in all: `free` calls it only when it returns true.
        let mut range = || unsafe { ManuallyDrop::take(&mut self.range) };
        if hit::free(pool, class, len, size, &mut range) {
            return;
        }
        // Nothing is left to do after the call, so nothing must be kept for it.
        give_back(self.pool, range(), size);
    }
}

/// Takes back a range that this thread's cache refused. By a pointer: no reference to the pool may be
/// left in use when what keeps it goes, as it may end then.
#[inline(never)]
fn give_back(pool: NonNull<Core>, range: Span, size: u64) {
    // SAFETY: the range is out until the pool has taken it, and a pool ends only when none is.
    let keep = take_back(unsafe { pool.as_ref() }, range, size);
    drop(keep);
}

/// Lets a range that comes back wait for the work it owes, if that is not done yet. The caller
/// holds a reference: once it waits, nothing else may keep the pool.
pub(crate) fn hold_for_debt(core: &Core, range: Span, size: u64) -> Option<Span> {
    let Some(debt) = core.early.settle(&range, |_| true) else { return Some(range) };
    if debt.is_over() {
        return Some(range);
    }
    let PendingTicket { timeline, queue, value } = debt;
    let buffer = Buffer::new(core, range, size);
    match timeline.upgrade() {
        Some(timeline) => timeline.retire(value, size, buffer),
        None => queues::leave_behind(core, &queue, value, buffer),
    }
    None
}

/// Takes back a range that belongs to no class, and to no quota: at once if it is of this thread's own
/// heap and need not be cleared.
#[inline]
fn join(core: &Core, range: &Span, size: u64) -> bool {
    let joined = thread_state::enter(core, |mut session| {
        let own = session.own.heaps.large()?;
        if range.heap() != own.index() || core.config.scrub != Scrub::Never {
            return None;
        }
        let block = range.record().block();
        core.heaps.at_home(own, |open| open.join(block));
        if core.config.track_statistics {
            session.local.counters.freed(size, &core.peak);
        }
        Some(())
    });
    joined.flatten().is_some()
}

/// Takes back a range; see [`reclaim`].
#[inline]
pub(crate) fn take_back(core: &Core, range: Span, size: u64) -> Option<Arc<Core>> {
    if range.class() == EXACT && join(core, &range, size) { None } else { reclaim(core, range, size) }
}

/// Takes back a range whose buffer had asked for `size` bytes. Answers what keeps the pool until the
/// caller refers to it no more, if that is needed.
#[inline]
pub(crate) fn reclaim(core: &Core, range: Span, size: u64) -> Option<Arc<Core>> {
    let refused = if range.is_special() { Some(range) } else { keep_back(core, range, size) };
    let range = refused?;
    // The range is still out, so the pool is still there to be referenced.
    let keep = core.me.upgrade();
    reclaim_directly(core, range, size);
    keep
}

/// As [`reclaim`], if that calls no device and waits for no queue; else returns the range.
pub(crate) fn reclaim_at_once(core: &Core, range: Span, size: u64) -> Result<(), Span> {
    if range.is_special() { Err(range) } else { keep_back(core, range, size).map_or(Ok(()), Err) }
}

/// Takes back a range in this thread's session, and hands it back if it cannot have one.
#[inline]
fn keep_back(core: &Core, range: Span, size: u64) -> Option<Span> {
    let mut range = Some(range);
    if core.config.scrub == Scrub::Never {
        core.session(|session| {
            if session.own.cache.is_closed() {
                return None;
            }
            if core.config.track_statistics {
                session.local.counters.freed(size, &core.peak);
            }
            settle(core, session, range.take()?);
            Some(())
        });
    }
    range
}

/// Sees to the marks of a range; `None` if it must wait for a queue first.
#[cold]
fn settle_marks(core: &Core, mut range: Span, size: u64) -> Option<Span> {
    if range.forget_debt() {
        range = hold_for_debt(core, range, size)?;
    }
    if range.unmeter() {
        core.quotas.give(range.record().tag(), size);
    }
    Some(range)
}

/// Finds a place for a range: the cache, the depot, or its heap.
#[inline]
fn settle(core: &Core, session: &mut CacheGuard<'_>, range: Span) {
    let held = &session.local.held;
    let Own { cache, heaps } = &mut *session.own;
    match range.class() {
        EXACT if core.is_others(range.heap(), heaps.places()) => {
            if let Err(range) = cache.post(range, held) {
                core.heaps.release(cache.mail(held).chain([range]));
            }
        }
        EXACT | GROWING => core.release(heaps, [range]),
        class => {
            // Who has never been cut anything only frees, and others wait for what is freed.
            let kept = if heaps.is_undecided() { 0 } else { MAGAZINE / 2 };
            if let Some(older) = cache.overflow(class, kept, held) {
                if core.depot.has_room(u64::from(range.len()) * MAGAZINE as u64) {
                    core.depot.put(class, older);
                } else {
                    core.heaps.release(older);
                }
            }
            let mut leaving = cache.make_room(range.len(), held);
            let refused = cache.push(range, held).err();
            core.release(heaps, leaving.drain(..).chain(refused));
        }
    }
}

/// The way for what is special, for threads without a cache, closed pools, and memory that must be
/// cleared first. The caller holds a reference.
///
/// Foreign code runs here, a destructor of the device's above all: outside of every lock and session.
#[cold]
#[inline(never)]
fn reclaim_directly(core: &Core, range: Span, size: u64) {
    // What a process has inherited it leaves alone: its parent has the range.
    if !core.process.is_current() {
        return;
    }
    if let Some(range) = settle_marks(core, range, size) {
        let refused = if range.is_fallback() { Some(range) } else { keep_back(core, range, size) };
        if let Some(range) = refused {
            if core.config.track_statistics {
                let shard = |local: &ThreadState| local.counters.freed(size, &core.peak);
                core.count(shard, |past| past.freed(size, &core.peak));
            }
            quarantine::clean_and_put_back(core, range, size);
        }
    }
    closing::drop_if_empty(core);
    notes::speak(core);
}

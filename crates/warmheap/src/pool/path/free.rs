//! The way of a freed buffer that the fast way of this thread's cache did not take.
//!
//! It owns where the span goes: a cache, the depot, a heap, a queue's timeline, the quarantine or the device.
//! It must never keep a closed pool alive, or use one that has ended. A buffer holds no reference count on
//! its pool, so once its span is back, nothing here keeps the pool. While a thread is inside its own cache,
//! the pool cannot end, because closing takes every cache. A thread that cannot enter its cache takes a
//! counted reference first, while its span is still out.
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
use crate::pool::heaps::thread_owned::OwnHeaps;
use crate::pool::in_flight::early_reuse::PendingTicket;
use crate::pool::path::hit;

impl Buffer {
    /// Frees the buffer if that calls no device and waits for no queue. Otherwise returns it, to be dropped
    /// where the caller may wait. For bindings. The call may wait for locks that are held for moments.
    ///
    /// # Errors
    /// The buffer, unchanged.
    pub fn free_at_once(self) -> Result<(), Self> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: a pool ends only when none of its buffers is left, and this one's span is out until one of
        // the two calls below has taken it. Neither uses the pool afterwards.
        let pool = unsafe { this.pool.as_ref() };
        let (class, len, size) = (this.span.class(), this.span.len(), this.size);
        // SAFETY: the closure runs once in all, because `free` calls it only when it returns true. A span
        // that the second call returns is put in its place again.
        let mut span = || unsafe { ManuallyDrop::take(&mut this.span) };
        if hit::free(pool, class, len, size, &mut span) {
            return Ok(());
        }
        match reclaim_at_once(pool, span(), size) {
            Ok(()) => Ok(()),
            Err(span) => {
                this.span = ManuallyDrop::new(span);
                Err(ManuallyDrop::into_inner(this))
            }
        }
    }
}

impl Drop for Buffer {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: a pool ends only when none of its buffers is left, and this one's span is out until one of
        // the calls below has taken it. None uses the pool afterwards.
        let pool = unsafe { self.pool.as_ref() };
        let (class, len) = (self.span.class(), self.span.len());
        let size = self.size;
        // SAFETY: the closure runs once in all, because `free` calls it only when it returns true.
        let mut span = || unsafe { ManuallyDrop::take(&mut self.span) };
        if hit::free(pool, class, len, size, &mut span) {
            return;
        }
        // Nothing is left to do after the call, so the compiler need not keep anything for it.
        give_back(self.pool, span(), size);
    }
}

/// Takes back a span that this thread's cache refused. It takes a pointer: no reference to the pool may be in
/// use when the last thing that keeps the pool goes, because the pool may end then.
#[inline(never)]
fn give_back(pool: NonNull<Core>, span: Span, size: u64) {
    // SAFETY: the span is out until the pool has taken it, and a pool ends only when no span is out.
    let keep = take_back(unsafe { pool.as_ref() }, span, size);
    drop(keep);
}

/// Makes a freed span wait for one of its pending tickets, unless all have completed: then returns the span.
/// The caller holds a reference, because nothing else may keep the pool once the span waits.
pub(crate) fn hold_for_debt(core: &Core, mut span: Span, size: u64) -> Option<Span> {
    while let Some((debt, has_others)) = core.early.take(&span, |_| true) {
        if debt.is_over() {
            continue;
        }
        if has_others {
            span.owe();
        }
        let PendingTicket { timeline, queue, value } = debt;
        let buffer = Buffer::new(core, span, size);
        match timeline.upgrade() {
            Some(timeline) => timeline.retire(value, size, buffer),
            None => queues::leave_behind(core, &queue, value, buffer),
        }
        return None;
    }
    Some(span)
}

/// Takes back an exact span without marks. Joins it at once, and returns true, if it is of this thread's own
/// heap and need not be cleared.
#[inline]
fn join(core: &Core, span: &Span, size: u64) -> bool {
    let joined = thread_state::enter(core, |mut session| {
        let own = session.own.heaps.large()?;
        if span.arena() != own.index() || core.config.scrub != Scrub::Never {
            return None;
        }
        let block = span.record().block();
        core.heaps.as_owner(own, |open| open.join(block));
        if core.config.track_statistics {
            session.local.counters.freed(size, &core.peak);
        }
        Some(())
    });
    joined.flatten().is_some()
}

/// As [`join`], for a span of a shared arena that no other thread is in, on a thread without heaps of its own.
#[inline(never)]
fn join_shared(core: &Core, span: &Span, size: u64) -> bool {
    let joined = thread_state::enter(core, |session| {
        let own = &session.own;
        // The last buffer of a closed pool must end it.
        let shares = matches!(own.heaps, OwnHeaps::Resident(_) | OwnHeaps::Shared) && !own.cache.is_closed();
        if !shares || core.config.scrub != Scrub::Never {
            return None;
        }
        let block = span.record().block();
        core.heaps.arena(span.arena()).at_once(|open| open.join_shared(block))?;
        if core.config.track_statistics {
            session.local.counters.freed(size, &core.peak);
        }
        Some(())
    });
    joined.flatten().is_some()
}

/// Takes back a span; see [`reclaim`].
#[inline]
pub(crate) fn take_back(core: &Core, span: Span, size: u64) -> Option<Arc<Core>> {
    let joined = span.class() == EXACT && (join(core, &span, size) || join_shared(core, &span, size));
    if joined { None } else { reclaim(core, span, size) }
}

/// Takes back a span whose buffer had asked for `size` bytes. Returns a reference that keeps the pool, where
/// one is needed. The caller drops it when it no longer uses the pool.
#[inline]
pub(crate) fn reclaim(core: &Core, span: Span, size: u64) -> Option<Arc<Core>> {
    let refused = if span.is_special() { Some(span) } else { keep_back(core, span, size) };
    let span = refused?;
    // The span is still out, so the pool is still alive and can be referenced.
    let keep = core.me.upgrade();
    reclaim_directly(core, span, size);
    keep
}

/// As [`reclaim`], if that calls no device and waits for no queue; otherwise returns the span.
pub(crate) fn reclaim_at_once(core: &Core, span: Span, size: u64) -> Result<(), Span> {
    if span.is_special() { Err(span) } else { keep_back(core, span, size).map_or(Ok(()), Err) }
}

/// Takes back a span inside this thread's cache. Returns the span if the thread cannot enter its cache.
#[inline]
fn keep_back(core: &Core, span: Span, size: u64) -> Option<Span> {
    let mut span = Some(span);
    if core.config.scrub == Scrub::Never {
        core.session(|session| {
            if session.own.cache.is_closed() {
                return None;
            }
            if core.config.track_statistics {
                session.local.counters.freed(size, &core.peak);
            }
            settle(core, session, span.take()?);
            Some(())
        });
    }
    span
}

/// Handles the marks of a span. Returns `None` if the span must wait for a queue first.
#[cold]
fn settle_marks(core: &Core, mut span: Span, size: u64) -> Option<Span> {
    if span.forget_debt() {
        span = hold_for_debt(core, span, size)?;
    }
    if span.unmeter() {
        core.quotas.give(span.record().tag(), size);
    }
    Some(span)
}

/// Puts a span into the cache, the depot, or its heap.
#[inline]
fn settle(core: &Core, session: &mut CacheGuard<'_>, span: Span) {
    let held = &session.local.held;
    let Own { cache, heaps } = &mut *session.own;
    match span.class() {
        EXACT if core.is_others(span.arena(), heaps.places()) => {
            if let Err(span) = cache.keep_remote(span, held) {
                core.heaps.release(cache.take_remote(held).chain([span]));
            }
        }
        EXACT | GROWING => core.release(heaps, [span]),
        class => {
            // A thread that never allocated only frees, and other threads wait for what it frees.
            let kept = if heaps.is_undecided() { 0 } else { MAGAZINE / 2 };
            if let Some(older) = cache.overflow(class, kept, held) {
                if core.depot.has_room(u64::from(span.len()) * MAGAZINE as u64) {
                    core.depot.put(class, older);
                } else {
                    core.heaps.release(older);
                }
            }
            let mut leaving = cache.make_room(span.len(), held);
            let refused = cache.push(span, held).err();
            core.release(heaps, leaving.drain(..).chain(refused));
        }
    }
}

/// Takes back marked spans, spans of threads without a cache or of closed pools, and memory that must be
/// cleared first. The caller holds a reference.
///
/// Foreign code runs here, above all a destructor of the device. So no lock is held, and no thread cache is
/// entered.
#[cold]
#[inline(never)]
fn reclaim_directly(core: &Core, span: Span, size: u64) {
    // A process leaves alone what it has inherited: its parent has the span.
    if !core.process.is_current() {
        return;
    }
    if let Some(span) = settle_marks(core, span, size) {
        let refused = if span.is_fallback() { Some(span) } else { keep_back(core, span, size) };
        if let Some(span) = refused {
            if core.config.track_statistics {
                let shard = |local: &ThreadState| local.counters.freed(size, &core.peak);
                core.count(shard, |past| past.freed(size, &core.peak));
            }
            quarantine::clean_and_put_back(core, span, size);
        }
    }
    closing::drop_if_empty(core);
    notes::write(core);
}

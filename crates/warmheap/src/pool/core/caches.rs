//! Emptying thread caches and the depot: the spans that they keep go back to the heaps.
//!
//! The module owns which caches are emptied, and whose. It never calls the device, except for quarantined
//! memory.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::pool::cache::thread_cache::ThreadCache;
use crate::pool::cache::thread_state::{CacheGuard, Own, ThreadState};
use crate::pool::core::{Core, quarantine};
use crate::pool::heaps::span::Span;
use crate::pool::heaps::thread_owned::OwnHeaps;
use crate::sync::lock;

/// Gives every cached span back to its heap, and every quarantined span that can be cleared by now. Returns
/// `false` if there was none.
pub(crate) fn flush_caches(core: &Core) -> bool {
    let mut any = quarantine::clear_withheld(core) || core.depot.held() > 0;
    core.heaps.release(core.depot.empty());
    any |= flush_own_cache(core);
    for local in &*lock(&core.locals) {
        if local.held.load(Relaxed) > 0 {
            any = true;
            give_up(core, local);
        }
    }
    any
}

/// Gives what one thread has cached back to the heaps. Any thread may call it.
pub(crate) fn give_up(core: &Core, local: &ThreadState) {
    let spans = local.own.take().cache.empty(&local.held);
    core.heaps.release(spans);
}

/// Gives what this thread has cached back to its heaps, without disturbing another thread. Returns `false` if
/// there was nothing.
pub(crate) fn flush_own_cache(core: &Core) -> bool {
    give_up_own(core, ThreadCache::empty)
}

/// Gives up this thread's cache and the depot, if the heaps that the thread cuts from have nothing else in use.
/// Otherwise cached spans would hold places in free memory that large buffers could lie in, and what fitted
/// once would not fit again. Growing heaps move their pages instead.
#[inline]
pub(crate) fn unpin(core: &Core, session: &mut CacheGuard<'_>) {
    let held = session.local.held.load(Relaxed);
    if held == 0 {
        return;
    }
    let used = match &session.own.heaps {
        OwnHeaps::Resident(residence) => u64::from(core.heaps.arena(*residence).levels().used()),
        OwnHeaps::Shared if !core.sizing.is_in_place() => core.heaps.used(),
        OwnHeaps::Undecided | OwnHeaps::Pair(_) | OwnHeaps::Shared => return,
    };
    if used <= held + core.depot.held() {
        let Own { cache, heaps } = &mut *session.own;
        let spans = cache.empty(&session.local.held);
        core.release(heaps, spans.into_iter().chain(core.depot.empty()));
    }
}

/// As [`flush_own_cache`], for a part of the cache.
pub(crate) fn shed_own_cache(core: &Core) -> bool {
    give_up_own(core, ThreadCache::shed)
}

fn give_up_own(core: &Core, part: impl Fn(&mut ThreadCache, &AtomicU64) -> Vec<Span>) -> bool {
    let given_up = core.session(|session| {
        let spans = part(&mut session.own.cache, &session.local.held);
        let any = !spans.is_empty();
        core.release(&mut session.own.heaps, spans);
        any.then_some(())
    });
    given_up.is_some()
}

/// Granules that caches and the depot keep.
pub(crate) fn cached(core: &Core) -> u64 {
    let threads = lock(&core.locals).iter().map(|local| local.held.load(Relaxed)).sum::<u64>();
    threads + core.depot.held()
}

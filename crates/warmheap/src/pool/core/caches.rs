//! Emptying thread caches and the depot: what they keep goes back to the heaps.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::pool::cache::thread_cache::ThreadCache;
use crate::pool::cache::thread_state::ThreadState;
use crate::pool::core::{Core, quarantine};
use crate::pool::heaps::span::Span;
use crate::sync::lock;

/// Gives every cached range back to its heap, and what can be cleared by now. `false` if there
/// was none.
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

/// Gives what a thread has cached back to the heaps, whichever thread that is.
pub(crate) fn give_up(core: &Core, local: &ThreadState) {
    let ranges = local.own.take().cache.empty(&local.held);
    core.heaps.release(ranges);
}

/// Gives what this thread has cached back to its heaps, without disturbing anyone. `false` if
/// that was nothing.
pub(crate) fn flush_own_cache(core: &Core) -> bool {
    give_up_own(core, ThreadCache::empty)
}

/// As [`flush_own_cache`], a part of it.
pub(crate) fn shed_own_cache(core: &Core) -> bool {
    give_up_own(core, ThreadCache::shed)
}

fn give_up_own(core: &Core, part: impl Fn(&mut ThreadCache, &AtomicU64) -> Vec<Span>) -> bool {
    let given_up = core.session(|session| {
        let ranges = part(&mut session.own.cache, &session.local.held);
        let any = !ranges.is_empty();
        core.release(&mut session.own.heaps, ranges);
        any.then_some(())
    });
    given_up.is_some()
}

/// Granules held back by caches and the depot.
pub(crate) fn cached(core: &Core) -> u64 {
    let threads = lock(&core.locals).iter().map(|local| local.held.load(Relaxed)).sum::<u64>();
    threads + core.depot.held()
}

//! What is still alive in a pool, and the end of a closed pool with its last buffer.
//!
//! The module owns what a leak report lists, and when a closed pool ends. It never lets a pool end while a
//! span is out.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::pool::core::{Core, caches, figures, quarantine};
use crate::pool::heaps::arena::Arena;
use crate::pool::interface::leak_report::{Leak, LeakReport};
use crate::sync::lock;

/// The number of spans that are out, in buffers or in caches.
pub(crate) fn live_ranges(core: &Core) -> u64 {
    let used = |arena: &Arena| arena.with(|open| u64::from(open.space().used_blocks()));
    core.heaps.arenas().iter().map(used).sum::<u64>() + core.fallback.count() as u64
}

/// Every buffer that is alive. Caches are given up first, so that only buffers are left.
pub(crate) fn leaks(core: &Core) -> LeakReport {
    caches::flush_caches(core);
    let mut leaks = Vec::new();
    let mut add = |record: &crate::pool::heaps::records::AllocRecord| {
        // Size 0 means freed, but quarantined.
        if record.size() > 0 {
            leaks.push(Leak { size: record.size(), tag: record.tag(), site: record.site() });
        }
    };
    for arena in core.heaps.arenas() {
        arena.with(|open| open.records().for_each(&mut add));
    }
    core.fallback.for_each_record(add);
    let totals = figures::totals(core);
    LeakReport { acquired: totals.acquired(), released: totals.deallocations, leaks }
}

/// Releases a closed pool if its last buffer is back. The caller holds a reference.
pub(crate) fn drop_if_empty(core: &Core) {
    if !core.closed.load(Ordering::SeqCst) {
        return;
    }
    // A thread may have been on its way to the depot when the pool closed.
    core.heaps.release(core.depot.empty());
    let mut closing = lock(&core.closing);
    let Some(withheld) = quarantine::take_if_alone(core, || live_ranges(core)) else { return };
    let last: Option<Arc<Core>> = closing.take();
    drop(closing);
    withheld.into_iter().for_each(|(span, _)| core.put_back(span));
    drop(last);
}

/// A thread that moves a buffer to another span calls this while both spans are out. The span that the buffer
/// leaves may then go back: no thread is between a look at the new place, before the move, and one at the old.
pub(crate) fn has_moved(core: &Core) {
    if core.closed.load(Ordering::SeqCst) {
        drop(lock(&core.closing));
    }
}

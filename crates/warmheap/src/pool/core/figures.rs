//! Statistics, added up from heaps, threads and counters.
//!
//! The module owns the order in which figures are read. It never stops a thread in its cache, except to reset
//! statistics.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::config::{HeapSizing, MIB};
use crate::offsets::segments;
use crate::pool::accounting::counters::Totals;
use crate::pool::core::{Core, caches, quarantine, queues};
use crate::pool::heaps::arena::Arena;
use crate::pool::heaps::arena_guard::ArenaGuard;
use crate::stats::{PoolKind, SlowPath, Statistics};
use crate::sync::lock;

/// Gauges over all heaps, in granules.
#[derive(Debug, Default)]
struct Gauges {
    heaps: u64,
    active: u64,
    committed: u64,
    free: u64,
    used: u64,
    largest_free: u64,
}

/// Granules committed and granules used, over all heaps, without disturbing a thread.
pub(crate) fn levels(core: &Core) -> (u64, u64) {
    core.heaps.arenas().iter().map(Arena::levels).fold((0, 0), |(committed, used), levels| {
        (committed + u64::from(levels.committed), used + u64::from(levels.used()))
    })
}

/// What every thread has counted.
pub(crate) fn totals(core: &Core) -> Totals {
    counted(core).totals
}

/// What is counted, from one moment without a reset.
struct Counted {
    totals: Totals,
    fallbacks: u64,
    peak_bytes: u64,
}

/// What every thread has counted, how many of those allocations are fallbacks, and the peak of live bytes.
/// Fallbacks are read first, because they are counted last.
fn counted(core: &Core) -> Counted {
    // While both locks are held, no thread is added or removed, and nothing is reset.
    let locals = lock(&core.locals);
    let past = lock(&core.past);
    let fallbacks = core.fallbacks.load(Acquire);
    let claimed = core.peak.claimed();
    let totals = Totals::of(&past, locals.iter().map(|local| &local.counters));
    let peak_bytes = core.peak.bytes(claimed, &totals, core.driver.account().peak_bytes());
    Counted { totals, fallbacks, peak_bytes }
}

fn gauges(core: &Core) -> Gauges {
    let mut gauges = Gauges::default();
    let mut add = |open: &mut ArenaGuard<'_>| {
        let (space, heaps) = (open.space(), open.heaps().count() as u64);
        gauges.heaps += heaps;
        if space.used_blocks() > 0 {
            gauges.active += heaps - segments::unused(space).count() as u64;
        }
        gauges.committed += u64::from(space.committed());
        gauges.free += u64::from(space.free_len());
        gauges.used += u64::from(space.used_len());
        gauges.largest_free = gauges.largest_free.max(space.largest_free().into());
    };
    // The lock is held throughout, because a heap that becomes purgeable meanwhile, or is taken back into
    // use, would count twice.
    let purgeable = lock(&core.purgeable);
    core.heaps.arenas().iter().for_each(|arena| arena.with(&mut add));
    for heap in &*purgeable {
        gauges.heaps += 1;
        gauges.committed += u64::from(heap.len);
        gauges.free += u64::from(heap.len);
        gauges.largest_free = gauges.largest_free.max(heap.len.into());
    }
    gauges
}

/// Free bytes in all heaps, and the longest free block of any.
pub(crate) fn free_bytes(core: &Core) -> (u64, u64) {
    let gauges = gauges(core);
    (core.bytes(gauges.free), core.bytes(gauges.largest_free))
}

/// Whether more than this share of the heaps is in use.
pub(crate) fn is_past(core: &Core, share: f64) -> bool {
    let gauges = gauges(core);
    gauges.used.saturating_sub(caches::cached(core)) as f64 > share * gauges.committed as f64
}

pub(crate) fn statistics(core: &Core) -> Statistics {
    let gauges = gauges(core);
    // Threads go on between these readings. The figures of the heaps bound the parts.
    let cached = caches::cached(core).min(gauges.used);
    let (quarantine, withheld_fallback) = quarantine::quarantined(core);
    let quarantine = quarantine.min(gauges.used - cached);
    let used = gauges.used - cached - quarantine;
    let Counted { totals, fallbacks, peak_bytes } = counted(core);
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    let tracked = |count: u64| if core.config.track_statistics { count } else { 0 };

    // Cached spans are free, but not part of any free block.
    let free = gauges.free + cached;
    let done = core.compactor.done();
    let fallbacks = tracked(fallbacks);
    let total = totals.allocations;
    let in_flight = queues::in_flight(core);
    let objects = core.driver.objects();
    Statistics {
        total_allocations: total,
        total_deallocations: totals.later_deallocations(),
        fallback_allocations: fallbacks,
        failed_allocations: tracked(core.failures.load(Relaxed)),
        active_allocations: totals.active(),
        hit_rate: if total == 0 { 1.0 } else { ratio(total.saturating_sub(fallbacks), total) },
        total_heaps: gauges.heaps,
        active_heaps: gauges.active,
        utilization: ratio(used, gauges.committed),
        fragmentation: if free == 0 { 0.0 } else { 1.0 - ratio(gauges.largest_free, free) },
        largest_allocation_mb: mib(totals.largest),
        avg_allocation_mb: totals.mean() / MIB as f64,
        total_capacity_mb: mib(core.bytes(gauges.committed)),
        used_capacity_mb: mib(core.bytes(used)),
        peak_used_mb: mib(peak_bytes),
        fallback_mb: mib(core.fallback.bytes().saturating_sub(withheld_fallback)),
        cached_mb: mib(core.bytes(cached)),
        quarantined_mb: mib(core.bytes(quarantine) + withheld_fallback),
        device_calls: core.driver.calls(),
        device_objects: objects.live,
        device_object_limit: objects.limit,
        in_flight_mb: mib(in_flight),
        orphaned_mb: mib(queues::orphaned(core).min(in_flight)),
        soft_limit_crossings: core.driver.account().crossings(),
        compactions: tracked(done.compactions),
        moved_buffers: tracked(done.moved_buffers),
        moved_mb: mib(tracked(done.moved_bytes)),
        recovered_mb: mib(tracked(done.recovered_bytes)),
        slow_path: if core.config.track_statistics { core.stages.snapshot() } else { SlowPath::default() },
        pool_kind: match core.config.heaps {
            _ if !core.config.enabled => PoolKind::Off,
            HeapSizing::Fixed => PoolKind::FixedHeaps,
            HeapSizing::Elastic => PoolKind::SelfSizing,
        },
        uncounted: !core.config.track_statistics,
    }
}

/// Zeroes the counters and lets the peaks start from now. Gauges keep their values.
pub(crate) fn reset_statistics(core: &Core) {
    let locals = lock(&core.locals);
    // Every thread is kept out of its cache while its counters are cleared, all at once, so that no request
    // is half counted.
    let taken: Vec<_> = locals.iter().map(|local| (local, local.own.take())).collect();
    let mut past = lock(&core.past);
    *past = Totals::of(&past, taken.iter().map(|(local, _)| &local.counters));
    past.restart();
    taken.iter().for_each(|(local, _)| local.counters.reset(&core.peak));
    core.peak.reset();
    core.fallbacks.store(0, Relaxed);
    core.failures.store(0, Relaxed);
    core.stages.reset();
    core.compactor.reset();
    core.driver.account().reset();
}

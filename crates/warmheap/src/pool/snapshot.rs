//! Statistics, added up.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::counters::Totals;
use super::lock;
use super::shared::Shared;
use crate::config::MIB;
use crate::device::ObjectCount;
use crate::offsets::RangeAllocator;
use crate::stats::{SlowPath, Statistics};

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

impl Shared {
    /// What every thread has counted.
    pub(crate) fn totals(&self) -> Totals {
        self.totals_and_fallbacks().0
    }

    /// What every thread has counted, and how many of those allocations are fallbacks. Fallbacks are
    /// read first, as they are counted last.
    fn totals_and_fallbacks(&self) -> (Totals, u64) {
        // With both in hand no thread comes or goes, and nothing is reset.
        let locals = lock(&self.locals);
        let past = lock(&self.past);
        let fallbacks = self.fallbacks.load(Acquire);
        (Totals::of(&past, locals.iter().map(|local| &local.counters)), fallbacks)
    }

    /// Granules held back by caches and the depot.
    pub(crate) fn cached(&self) -> u64 {
        let threads = lock(&self.locals).iter().map(|local| local.held.load(Relaxed)).sum::<u64>();
        threads + self.depot.held()
    }

    fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        let mut add = |space: &RangeAllocator| {
            gauges.heaps += 1;
            gauges.active += u64::from(space.used_blocks() > 0);
            gauges.committed += u64::from(space.committed());
            gauges.free += u64::from(space.free_len());
            gauges.used += u64::from(space.used_len());
            gauges.largest_free = gauges.largest_free.max(space.largest_free().into());
        };
        // Held throughout: a heap that comes to rest meanwhile, or is claimed back, would count twice.
        let resting = lock(&self.resting);
        resting.iter().for_each(|heap| add(&heap.space));
        for slot in self.heaps.slots() {
            slot.with(|open| open.heap().map(|heap| add(&heap.space)));
        }
        gauges
    }

    /// Free bytes in all heaps, and the longest free block of any.
    pub(crate) fn free_bytes(&self) -> (u64, u64) {
        let gauges = self.gauges();
        (self.bytes(gauges.free), self.bytes(gauges.largest_free))
    }

    /// Whether more than this share of the heaps is in use.
    pub(crate) fn is_past(&self, share: f64) -> bool {
        let gauges = self.gauges();
        gauges.used.saturating_sub(self.cached()) as f64 > share * gauges.committed as f64
    }

    pub(crate) fn statistics(&self) -> Statistics {
        let gauges = self.gauges();
        // Threads move on between these readings; what heaps know bounds the parts of it.
        let cached = self.cached().min(gauges.used);
        let (withheld, withheld_fallback) = self.withheld();
        let withheld = withheld.min(gauges.used - cached);
        let used = gauges.used - cached - withheld;
        let (totals, fallbacks) = self.totals_and_fallbacks();
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        let ratio = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let counted = |count: u64| if self.config.track_statistics { count } else { 0 };

        // Cached ranges are free, but not part of any free block.
        let free = gauges.free + cached;
        let done = self.compactor.done();
        let fallbacks = counted(fallbacks);
        let total = totals.allocations;
        let objects = self.driver.device().objects().unwrap_or(ObjectCount { live: 0, limit: 0 });
        Statistics {
            total_allocations: total,
            total_deallocations: totals.deallocations,
            fallback_allocations: fallbacks,
            failed_allocations: counted(self.failures.load(Relaxed)),
            active_allocations: totals.active(),
            hit_rate: if total == 0 { 1.0 } else { ratio(total.saturating_sub(fallbacks), total) },
            total_heaps: gauges.heaps,
            active_heaps: gauges.active,
            utilization: ratio(used, gauges.committed),
            fragmentation: if free == 0 { 0.0 } else { 1.0 - ratio(gauges.largest_free, free) },
            largest_allocation_mb: mib(totals.largest),
            avg_allocation_mb: totals.mean() / MIB as f64,
            total_capacity_mb: mib(self.bytes(gauges.committed)),
            used_capacity_mb: mib(self.bytes(used)),
            peak_used_mb: mib(self.peak.bytes(&totals)),
            fallback_mb: mib(self.fallback.bytes().saturating_sub(withheld_fallback)),
            cached_mb: mib(self.bytes(cached)),
            quarantined_mb: mib(self.bytes(withheld) + withheld_fallback),
            device_calls: self.driver.calls(),
            device_objects: objects.live,
            device_object_limit: objects.limit,
            in_flight_mb: mib(self.in_flight()),
            soft_limit_crossings: self.driver.account().crossings(),
            compactions: counted(done.compactions),
            moved_buffers: counted(done.moved_buffers),
            moved_mb: mib(counted(done.moved_bytes)),
            recovered_mb: mib(counted(done.recovered_bytes)),
            slow_path: if self.config.track_statistics {
                self.ladder.snapshot()
            } else {
                SlowPath::default()
            },
        }
    }

    /// Zeroes the counters and lets the peaks start from now. Gauges are what they are.
    pub(crate) fn reset_statistics(&self) {
        let locals = lock(&self.locals);
        // Every thread is kept out of its cache while its counters are cleared; all at once, so
        // that no request is half counted.
        let taken: Vec<_> = locals.iter().map(|local| (local, local.own.take())).collect();
        let mut past = lock(&self.past);
        *past = Totals::of(&past, taken.iter().map(|(local, _)| &local.counters));
        past.restart();
        taken.iter().for_each(|(local, _)| local.counters.reset(&self.peak));
        self.peak.reset();
        self.fallbacks.store(0, Relaxed);
        self.failures.store(0, Relaxed);
        self.ladder.reset();
        self.compactor.reset();
        self.driver.account().reset();
    }
}

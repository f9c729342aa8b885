//! Compares the figures that a pool shows with the counts, while all threads wait.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fastrand::Rng;

use super::chaos;
use super::figures::count;
use super::finding::{Finding, same};
use super::parts::expected::Expected;
use super::parts::held::look_at;
use super::parts::queues::QueueSlot;
use super::parts::setting::METERED;
use super::round::Round;
use crate::lock;
use warmheap::config::MIB;
use warmheap::{CompactionBudget, Pool, Statistics};

/// Returns the bytes of a statistic in MiB. The conversion is exact.
fn bytes(mib: f64) -> u64 {
    (mib * MIB as f64) as u64
}

impl Round {
    /// Compares the pool's figures with the counts, while all threads wait and pin what may move. If the pool
    /// has closed, only the device is compared.
    pub(super) fn compare(&self, last: bool, rng: &mut Rng) -> Result<(), Finding> {
        // Callbacks do nothing during the comparison.
        self.awake.store(false, Relaxed);
        self.wait_for_leftovers();
        let around = lock(&self.around);
        let _views = look_at(around.iter(), &self.oracle)?;
        let compared = match self.pool() {
            Some(pool) => self.compare_pool(&pool, last, rng),
            None => self.compare_device(),
        };
        self.awake.store(true, Relaxed);
        compared
    }

    /// Checks that what is alive still has memory after the pool has closed.
    fn compare_device(&self) -> Result<(), Finding> {
        let (_, live_bytes) = self.oracle.live();
        same("bytes alive without memory", live_bytes.saturating_sub(self.faults.live_bytes()), 0)?;
        count(&self.figures.comparisons);
        Ok(())
    }

    fn compare_pool(&self, pool: &Pool, last: bool, rng: &mut Rng) -> Result<(), Finding> {
        let drained = rng.bool();
        for slot in &self.queues {
            if drained {
                slot.drain();
            }
            slot.work().poll()?;
        }
        self.stand_still(pool)?;
        for work in self.queues.iter().map(QueueSlot::work).filter(|work| drained && !work.counter.is_lost())
        {
            same("bytes retired to a queue that is done", work.retired_bytes(), 0)?;
        }
        self.oracle.sweep();
        let retired: u64 = self.queues.iter().map(|slot| slot.work().retired_bytes()).sum();
        let (live, live_bytes) = self.oracle.live();
        // Listing what is alive empties the caches, so it comes first.
        let alive = pool.leaks();
        same("bytes alive", alive.bytes(), live_bytes + retired)?;
        if retired == 0 {
            same("buffers alive", alive.leaks.len() as u64, live)?;
        }
        let seen = pool.statistics();
        if self.setting.config.track_statistics {
            self.compare_statistics(&seen, alive.leaks.len() as u64)?;
        }
        same("device_calls", seen.device_calls, self.faults.calls())?;
        same("bytes reserved", pool.reserved_bytes(), self.faults.live_bytes())?;
        same("objects reserved", pool.reserved_objects(), self.faults.live_objects())?;
        let past_limit =
            self.setting.config.limits.hard_bytes.map(|most| self.faults.peak_bytes().saturating_sub(most));
        same("bytes past the hard limit", 0, past_limit.unwrap_or_default())?;
        if let Some((quota, used)) = pool.quota(METERED) {
            let metered = alive.leaks.iter().filter(|leak| leak.tag.name() == METERED);
            same("bytes under a quota", used, metered.map(|leak| leak.size).sum())?;
            same("bytes past a quota", 0, used.saturating_sub(quota))?;
        }
        self.figures.peak_live_bytes.fetch_max(live_bytes + retired, Relaxed);
        self.figures.metadata_bytes.fetch_max(pool.metadata_bytes() as u64, Relaxed);
        self.figures.end_fragmentation.store(seen.fragmentation.to_bits(), Relaxed);
        count(&self.figures.comparisons);
        if last || rng.u8(..4) == 0 {
            self.take_down(&seen);
            pool.reset_statistics();
            self.faults.forget_copies();
            self.expected.restart(alive.leaks.len() as u64);
        }
        Ok(())
    }

    /// Leaves the pool's own thread, if it has one, nothing to do. All that may move is pinned, the queues
    /// are polled, nothing waits to be cleared, and the thread's present step is over.
    fn stand_still(&self, pool: &Pool) -> Result<(), Finding> {
        if self.setting.config.compaction.enabled {
            self.faults.heal();
            chaos::compact(self, pool, CompactionBudget { bytes: 0, time: Duration::ZERO })?;
        }
        Ok(())
    }

    fn compare_statistics(&self, seen: &Statistics, alive: u64) -> Result<(), Finding> {
        let Expected { allocated, fallbacks, refused, unseen, .. } = &self.expected;
        let (active, allocated) = (seen.active_allocations, allocated.load(Relaxed));
        same("active_allocations", active, alive)?;
        same("total_allocations", seen.total_allocations, allocated)?;
        // The buffers from before the reset are taken to be freed first.
        let freed = allocated.saturating_sub(active);
        same("total_deallocations", seen.total_deallocations, freed)?;
        let (fallbacks, unseen) = (fallbacks.load(Relaxed), unseen.load(Relaxed));
        let counted = seen.fallback_allocations.clamp(fallbacks, fallbacks + unseen);
        same("fallback_allocations", seen.fallback_allocations, counted)?;
        same("failed_allocations", seen.failed_allocations, refused.load(Relaxed))?;
        self.compare_compaction(seen)
    }

    fn compare_compaction(&self, seen: &Statistics) -> Result<(), Finding> {
        let Expected { compactions, recovered, copies, copied, .. } = &self.expected;
        let (all_copies, all_copied) = self.faults.copied();
        same("copies", seen.moved_buffers + copies.load(Relaxed), all_copies)?;
        same("bytes copied", bytes(seen.moved_mb) + copied.load(Relaxed), all_copied)?;
        // The pool compacts by itself, too, if the settings allow it.
        let (asked, alone) = (compactions.load(Relaxed), !self.setting.config.compaction.enabled);
        same("compactions", seen.compactions, if alone { asked } else { seen.compactions.max(asked) })?;
        // A compaction that failed does not report what it did before.
        let recovered = bytes(seen.recovered_mb).max(recovered.load(Relaxed));
        same("bytes recovered", bytes(seen.recovered_mb), recovered)
    }

    /// Adds the pool's figures of compaction to the soak's.
    fn take_down(&self, seen: &Statistics) {
        let asked = self.expected.compactions.load(Relaxed);
        self.figures.compactions_by_pools.fetch_add(seen.compactions.saturating_sub(asked), Relaxed);
        self.figures.compacted.fetch_add(seen.moved_buffers, Relaxed);
        self.figures.compacted_bytes.fetch_add(bytes(seen.moved_mb), Relaxed);
        self.figures.recovered_bytes.fetch_add(bytes(seen.recovered_mb), Relaxed);
    }
}

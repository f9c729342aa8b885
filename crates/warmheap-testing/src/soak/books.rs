//! What a pool must say of itself: counted beside it, and compared while all threads stand still.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fastrand::Rng;

use super::figures::count;
use super::finding::{Finding, same};
use super::held::look_at;
use super::lanes::Lane;
use super::round::Round;
use super::setting::METERED;
use crate::lock;
use warmheap::config::MIB;
use warmheap::{CompactionBudget, Pool, Statistics};

/// Counts as the pool's statistics count, since they were reset.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) allocated: AtomicU64,
    pub(super) fallbacks: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Buffers that came and went within a call, or moved at once; perhaps by fallback, which is not
    /// seen.
    pub(super) unseen: AtomicU64,
    /// Buffers that were alive then.
    before: AtomicU64,
    /// Compactions on demand, and the bytes that they said came free.
    pub(super) compactions: AtomicU64,
    pub(super) recovered: AtomicU64,
    /// Copies that were made to grow, and their bytes. All others are compaction's.
    pub(super) copies: AtomicU64,
    pub(super) copied: AtomicU64,
}

impl Books {
    /// Buffers that were alive when the statistics were reset.
    pub(super) fn before(&self) -> u64 {
        self.before.load(Relaxed)
    }

    fn restart(&self, alive: u64) {
        let Self { allocated, fallbacks, refused, unseen, before, .. } = self;
        let Self { compactions, recovered, copies, copied, .. } = self;
        let counters = [allocated, fallbacks, refused, unseen, compactions, recovered, copies, copied];
        counters.iter().for_each(|counter| counter.store(0, Relaxed));
        before.store(alive, Relaxed);
    }
}

/// Bytes of a statistic in MiB, which is exact.
fn bytes(mib: f64) -> u64 {
    (mib * MIB as f64) as u64
}

impl Round {
    /// All threads stand still, and pin what may move: what the pool says of itself is what was
    /// counted. Where it has closed, only the device can be asked.
    pub(super) fn compare(&self, last: bool, rng: &mut Rng) -> Result<(), Finding> {
        // Callbacks do nothing meanwhile.
        self.awake.store(false, Relaxed);
        self.wait_for_leftovers();
        let around = lock(&self.around);
        let _sights = look_at(around.iter(), &self.oracle)?;
        let compared = match self.pool() {
            Some(pool) => self.compare_pool(&pool, last, rng),
            None => self.compare_device(),
        };
        self.awake.store(true, Relaxed);
        compared
    }

    /// The pool has closed: what is alive has memory still.
    fn compare_device(&self) -> Result<(), Finding> {
        let (_, live_bytes) = self.oracle.live();
        same("bytes alive without memory", live_bytes.saturating_sub(self.strain.live_bytes()), 0)?;
        count(&self.figures.comparisons);
        Ok(())
    }

    fn compare_pool(&self, pool: &Pool, last: bool, rng: &mut Rng) -> Result<(), Finding> {
        let drained = rng.bool();
        for lane in &self.lanes {
            if drained {
                lane.drain();
            }
            lane.work().poll()?;
        }
        self.stand_still(pool)?;
        for work in self.lanes.iter().map(Lane::work).filter(|work| drained && !work.counter.is_lost()) {
            same("bytes retired to a queue that is done", work.retired_bytes(), 0)?;
        }
        self.oracle.sweep();
        let retired: u64 = self.lanes.iter().map(|lane| lane.work().retired_bytes()).sum();
        let (live, live_bytes) = self.oracle.live();
        // Caches are given up for the list of what is alive, so that comes first.
        let alive = pool.leaks();
        same("bytes alive", alive.bytes(), live_bytes + retired)?;
        if retired == 0 {
            same("buffers alive", alive.leaks.len() as u64, live)?;
        }
        let seen = pool.statistics();
        if self.setting.config.track_statistics {
            self.compare_statistics(&seen, alive.leaks.len() as u64)?;
        }
        same("device_calls", seen.device_calls, self.strain.calls())?;
        same("bytes reserved", pool.reserved_bytes(), self.strain.live_bytes())?;
        same("objects reserved", pool.reserved_objects(), self.strain.live_objects())?;
        let past_limit =
            self.setting.config.limits.hard_bytes.map(|most| self.strain.peak_bytes().saturating_sub(most));
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
            self.strain.forget_copies();
            self.books.restart(alive.leaks.len() as u64);
        }
        Ok(())
    }

    /// Has the pool's own thread, if it has one, do nothing from now on: all that may move is pinned,
    /// what could be polled is, nothing is left to be cleared, and the step that it is at is over.
    fn stand_still(&self, pool: &Pool) -> Result<(), Finding> {
        if self.setting.config.compaction.enabled {
            self.strain.heal();
            self.compact(pool, CompactionBudget { bytes: 0, time: Duration::ZERO })?;
        }
        Ok(())
    }

    fn compare_statistics(&self, seen: &Statistics, alive: u64) -> Result<(), Finding> {
        let Books { allocated, fallbacks, refused, unseen, before, .. } = &self.books;
        let (active, allocated) = (seen.active_allocations, allocated.load(Relaxed));
        same("active_allocations", active, alive)?;
        same("total_allocations", seen.total_allocations, allocated)?;
        let freed = before.load(Relaxed) + allocated - active;
        same("total_deallocations", seen.total_deallocations, freed)?;
        let (fallbacks, unseen) = (fallbacks.load(Relaxed), unseen.load(Relaxed));
        let counted = seen.fallback_allocations.clamp(fallbacks, fallbacks + unseen);
        same("fallback_allocations", seen.fallback_allocations, counted)?;
        same("failed_allocations", seen.failed_allocations, refused.load(Relaxed))?;
        self.compare_compaction(seen)
    }

    fn compare_compaction(&self, seen: &Statistics) -> Result<(), Finding> {
        let Books { compactions, recovered, copies, copied, .. } = &self.books;
        let (all_copies, all_copied) = self.strain.copied();
        same("copies", seen.moved_buffers + copies.load(Relaxed), all_copies)?;
        same("bytes copied", bytes(seen.moved_mb) + copied.load(Relaxed), all_copied)?;
        // The pool compacts for itself, too, if it may.
        let (asked, alone) = (compactions.load(Relaxed), !self.setting.config.compaction.enabled);
        same("compactions", seen.compactions, if alone { asked } else { seen.compactions.max(asked) })?;
        // A compaction that failed does not say what it did before.
        let recovered = bytes(seen.recovered_mb).max(recovered.load(Relaxed));
        same("bytes recovered", bytes(seen.recovered_mb), recovered)
    }

    /// Adds what the pool says of compaction to the soak's figures.
    fn take_down(&self, seen: &Statistics) {
        let asked = self.books.compactions.load(Relaxed);
        self.figures.compactions_by_pools.fetch_add(seen.compactions.saturating_sub(asked), Relaxed);
        self.figures.compacted.fetch_add(seen.moved_buffers, Relaxed);
        self.figures.compacted_bytes.fetch_add(bytes(seen.moved_mb), Relaxed);
        self.figures.recovered_bytes.fetch_add(bytes(seen.recovered_mb), Relaxed);
    }
}

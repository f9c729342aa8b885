//! What happens beside the traces: to the device, to the queues, and to the pool as a whole.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fastrand::Rng;

use super::figures::count;
use super::finding::{Finding, same};
use super::round::Round;
use crate::lock;
use warmheap::device::DeviceError;
use warmheap::{CompactionBudget, Pool};

impl Round {
    /// Something happens; to the pool only while it is open.
    pub(super) fn mischief(&self, pool: Option<&Pool>, rng: &mut Rng) -> Result<(), Finding> {
        let lane = &self.lanes[rng.usize(..self.lanes.len())];
        match rng.u32(..1000) {
            0..700 => lane.happen(rng, &self.figures),
            700..800 => lane.work().poll()?,
            800..900 => {
                let left = lock(&self.around).pop();
                if let Some(held) = left {
                    count(&self.figures.freed_elsewhere);
                    held.free(&self.oracle)?;
                }
            }
            900..910 => {
                let lost = lane.work().counter.is_lost();
                if let Some(pool) = pool.filter(|_| lost || rng.u8(..4) == 0) {
                    let number = self.queues.fetch_add(1, Relaxed);
                    lane.replace(pool, number, &self.figures);
                }
            }
            930..960 => self.strain.fail(rng.u64(1..=16)),
            960 => self.strain.fail_all(),
            961..980 => self.strain.heal(),
            980..990 => {
                let share = rng.choice([None, None, Some(40), Some(70), Some(100), Some(150)]).flatten();
                self.strain.set_budget(share.map(|percent| self.setting.demand / 100 * percent));
            }
            kind => pool.map_or(Ok(()), |pool| self.upkeep(pool, kind, rng))?,
        }
        Ok(())
    }

    /// The pool as a whole is asked for something.
    fn upkeep(&self, pool: &Pool, kind: u32, rng: &mut Rng) -> Result<(), Finding> {
        match kind {
            ..920 => {
                let target = rng.u64(..self.setting.demand);
                let bytes = self.excused(|| pool.trim(rng.choice([0, target]).unwrap_or(0)))?;
                count(&self.figures.trims);
                self.figures.trimmed_bytes.fetch_add(bytes, Relaxed);
            }
            // As if time had passed: enough looks for what is free at all of them to go.
            920..925 => {
                let look = || pool.maintain(Duration::ZERO).map(|_| 0);
                (0..12).try_for_each(|_| self.excused(look).map(drop))?;
            }
            925..930 => {
                self.excused(|| pool.rest())?;
                count(&self.figures.rests);
            }
            930..995 => {
                let bytes = rng.choice([0, 1, self.setting.demand / 256, u64::MAX]).unwrap_or_default();
                let time = rng.choice([Duration::from_micros(20), Duration::from_millis(2), Duration::MAX]);
                self.compact(pool, CompactionBudget { bytes, time: time.unwrap_or_default() })?;
            }
            _ => {
                let seen = pool.statistics();
                same("shares above 1", u64::from(seen.hit_rate > 1.0 || seen.utilization > 1.0), 0)?;
                // Counters never wrap, whatever the other threads are at.
                let surplus =
                    seen.active_allocations.saturating_sub(seen.total_allocations + self.books.before());
                same("active buffers beyond all that were asked for", surplus, 0)?;
            }
        }
        Ok(())
    }

    /// Packs what may move, within the budget but for one buffer.
    pub(super) fn compact(&self, pool: &Pool, budget: CompactionBudget) -> Result<(), Finding> {
        let report = self.excused(|| pool.compact(budget))?;
        count(&self.books.compactions);
        count(&self.figures.compactions);
        let most = budget.bytes.saturating_add(self.longest_movable.load(Relaxed));
        same("bytes moved past a budget", report.moved_bytes.saturating_sub(most), 0)?;
        self.books.recovered.fetch_add(report.recovered_bytes, Relaxed);
        Ok(())
    }

    /// What a call returns. It may fail, and return nothing, only if the device has failed a call or a
    /// callback has panicked, as ordered.
    fn excused<T: Default>(&self, call: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, Finding> {
        let troubles = self.strain.troubles();
        self.unless_panicked(call).unwrap_or_else(|| Ok(T::default())).or_else(|error| {
            if self.strain.troubles() > troubles { Ok(T::default()) } else { Err(Finding::Device(error)) }
        })
    }
}

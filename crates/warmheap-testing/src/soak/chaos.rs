//! Disturbs the device, the queues and the pool while traces are played.
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
    /// Disturbs the device, a queue, or the pool while it is open.
    pub(super) fn chaos(&self, pool: Option<&Pool>, rng: &mut Rng) -> Result<(), Finding> {
        let slot = &self.queues[rng.usize(..self.queues.len())];
        match rng.u32(..1000) {
            0..700 => slot.happen(rng, &self.figures),
            700..800 => slot.work().poll()?,
            800..900 => {
                let left = lock(&self.around).pop();
                if let Some(held) = left {
                    count(&self.figures.freed_elsewhere);
                    held.free(&self.oracle)?;
                }
            }
            900..910 => {
                let lost = slot.work().counter.is_lost();
                if let Some(pool) = pool.filter(|_| lost || rng.u8(..4) == 0) {
                    let number = self.queues_made.fetch_add(1, Relaxed);
                    slot.replace(pool, number, &self.figures);
                }
            }
            930..960 => self.faults.fail(rng.u64(1..=16), rng.u8(..4) == 0),
            960 => self.faults.fail_all(),
            961..980 => self.faults.heal(),
            980..990 => {
                let share = rng.choice([None, None, Some(40), Some(70), Some(100), Some(150)]).flatten();
                self.faults.set_budget(share.map(|percent| self.setting.demand / 100 * percent));
            }
            kind => pool.map_or(Ok(()), |pool| self.upkeep(pool, kind, rng))?,
        }
        Ok(())
    }

    /// Calls a function that concerns the whole pool.
    fn upkeep(&self, pool: &Pool, kind: u32, rng: &mut Rng) -> Result<(), Finding> {
        match kind {
            ..920 => {
                let target = rng.u64(..self.setting.demand);
                let bytes = self.excused(|| pool.trim(rng.choice([0, target]).unwrap_or(0)))?;
                count(&self.figures.trims);
                self.figures.trimmed_bytes.fetch_add(bytes, Relaxed);
            }
            // This acts as if time had passed: it takes enough samples for all that stays free to go back.
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
                // Counters never wrap, whatever the other threads do.
                let surplus =
                    seen.active_allocations.saturating_sub(seen.total_allocations + self.expected.before());
                same("active buffers beyond all that were asked for", surplus, 0)?;
            }
        }
        Ok(())
    }

    /// Compacts within the budget. One buffer may exceed it.
    pub(super) fn compact(&self, pool: &Pool, budget: CompactionBudget) -> Result<(), Finding> {
        let report = self.excused(|| pool.compact(budget))?;
        count(&self.expected.compactions);
        count(&self.figures.compactions);
        let most = budget.bytes.saturating_add(self.longest_movable.load(Relaxed));
        same("bytes moved past a budget", report.moved_bytes.saturating_sub(most), 0)?;
        self.expected.recovered.fetch_add(report.recovered_bytes, Relaxed);
        Ok(())
    }

    /// Returns what a call returns. The call may fail only if the device has failed a call or a callback
    /// has panicked as ordered; then this returns the default.
    fn excused<T: Default>(&self, call: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, Finding> {
        let troubles = self.faults.troubles();
        self.unless_panicked(call).unwrap_or_else(|| Ok(T::default())).or_else(|error| {
            if self.faults.troubles() > troubles { Ok(T::default()) } else { Err(Finding::Device(error)) }
        })
    }
}

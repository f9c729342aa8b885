//! What happens beside the traces: to the device, to the queues, and to the pool as a whole.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fastrand::Rng;

use super::figures::count;
use super::finding::{Finding, same};
use super::round::Round;
use crate::lock;
use warmheap::CompactionBudget;
use warmheap::device::DeviceError;

impl Round {
    /// Something happens.
    pub(super) fn mischief(&self, rng: &mut Rng) -> Result<(), Finding> {
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
                if lost || rng.u8(..4) == 0 {
                    let number = self.queues.fetch_add(1, Relaxed);
                    lane.replace(&self.pool, number, &self.figures);
                }
            }
            910..920 => {
                let target = rng.u64(..self.setting.demand);
                let bytes = self.excused(|| self.pool.trim(rng.choice([0, target]).unwrap_or(0)))?;
                count(&self.figures.trims);
                self.figures.trimmed_bytes.fetch_add(bytes, Relaxed);
            }
            // As if time had passed: enough looks for what is free at all of them to go.
            920..925 => {
                let look = || self.pool.maintain(Duration::ZERO).map(|_| 0);
                (0..12).try_for_each(|_| self.excused(look).map(drop))?;
            }
            925..930 => {
                self.excused(|| self.pool.rest())?;
                count(&self.figures.rests);
            }
            930..960 => self.strain.fail(rng.u64(1..=16)),
            960 => self.strain.fail_all(),
            961..980 => self.strain.heal(),
            980..990 => {
                let share = rng.choice([None, None, Some(40), Some(70), Some(100), Some(150)]).flatten();
                self.strain.set_budget(share.map(|percent| self.setting.demand / 100 * percent));
            }
            990..995 => {
                let bytes = rng.choice([0, 1, self.setting.demand / 256, u64::MAX]).unwrap_or_default();
                let time = rng.choice([Duration::from_micros(20), Duration::from_millis(2), Duration::MAX]);
                self.compact(CompactionBudget { bytes, time: time.unwrap_or_default() })?;
            }
            _ => {
                let statistics = self.pool.statistics();
                let sound = statistics.hit_rate <= 1.0 && statistics.utilization <= 1.0;
                same("shares above 1", u64::from(!sound), 0)?;
            }
        }
        Ok(())
    }

    /// Packs what may move, within the budget but for one buffer.
    pub(super) fn compact(&self, budget: CompactionBudget) -> Result<(), Finding> {
        let report = self.excused(|| self.pool.compact(budget))?;
        count(&self.books.compactions);
        count(&self.figures.compactions);
        let most = budget.bytes.saturating_add(self.longest_movable.load(Relaxed));
        same("bytes moved past a budget", report.moved_bytes.saturating_sub(most), 0)?;
        self.books.recovered.fetch_add(report.recovered_bytes, Relaxed);
        Ok(())
    }

    /// What a call answers; it may fail, and answer nothing, only if the device has failed a call.
    fn excused<T: Default>(&self, call: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, Finding> {
        let troubles = self.strain.troubles();
        call().or_else(|error| {
            if self.strain.troubles() > troubles { Ok(T::default()) } else { Err(Finding::Device(error)) }
        })
    }
}

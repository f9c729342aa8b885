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

/// Disturbs the device, a queue, or the pool while it is open.
pub(super) fn disturb(round: &Round, pool: Option<&Pool>, rng: &mut Rng) -> Result<(), Finding> {
    let slot = &round.queues[rng.usize(..round.queues.len())];
    match rng.u32(..1000) {
        0..700 => slot.happen(rng, &round.figures),
        700..800 => slot.work().poll()?,
        800..900 => {
            let left = lock(&round.around).pop();
            if let Some(held) = left {
                count(&round.figures.freed_elsewhere);
                held.free(&round.oracle)?;
            }
        }
        900..910 => {
            let lost = slot.work().counter.is_lost();
            if let Some(pool) = pool.filter(|_| lost || rng.u8(..4) == 0) {
                let number = round.queues_made.fetch_add(1, Relaxed);
                slot.replace(pool, number, &round.figures);
            }
        }
        930..960 => round.faults.fail(rng.u64(1..=16), rng.u8(..4) == 0),
        960 => round.faults.fail_all(),
        961..980 => round.faults.heal(),
        980..990 => {
            let share = rng.choice([None, None, Some(40), Some(70), Some(100), Some(150)]).flatten();
            round.faults.set_budget(share.map(|percent| round.setting.demand / 100 * percent));
        }
        kind => pool.map_or(Ok(()), |pool| upkeep(round, pool, kind, rng))?,
    }
    Ok(())
}

/// Calls a function that concerns the whole pool.
fn upkeep(round: &Round, pool: &Pool, kind: u32, rng: &mut Rng) -> Result<(), Finding> {
    match kind {
        ..920 => {
            let target = rng.u64(..round.setting.demand);
            let bytes = excused(round, || pool.trim(rng.choice([0, target]).unwrap_or(0)))?;
            count(&round.figures.trims);
            round.figures.trimmed_bytes.fetch_add(bytes, Relaxed);
        }
        // This acts as if time had passed: it takes enough samples for all that stays free to go back.
        920..925 => {
            let look = || pool.maintain(Duration::ZERO).map(|_| 0);
            (0..12).try_for_each(|_| excused(round, look).map(drop))?;
        }
        925..930 => {
            excused(round, || pool.make_purgeable())?;
            count(&round.figures.rests);
        }
        930..995 => {
            let bytes = rng.choice([0, 1, round.setting.demand / 256, u64::MAX]).unwrap_or_default();
            let time = rng.choice([Duration::from_micros(20), Duration::from_millis(2), Duration::MAX]);
            compact(round, pool, CompactionBudget { bytes, time: time.unwrap_or_default() })?;
        }
        _ => {
            let seen = pool.statistics();
            same("shares above 1", u64::from(seen.hit_rate > 1.0 || seen.utilization > 1.0), 0)?;
            // Counters never wrap, whatever the other threads do.
            let surplus = seen
                .active_allocations
                .saturating_sub(seen.total_allocations + round.expected.before.load(Relaxed));
            same("active buffers beyond all that were asked for", surplus, 0)?;
        }
    }
    Ok(())
}

/// Compacts within the budget. One buffer may exceed it.
pub(super) fn compact(round: &Round, pool: &Pool, budget: CompactionBudget) -> Result<(), Finding> {
    let report = excused(round, || pool.compact(budget))?;
    count(&round.expected.compactions);
    count(&round.figures.compactions);
    let most = budget.bytes.saturating_add(round.longest_movable.load(Relaxed));
    same("bytes moved past a budget", report.moved_bytes.saturating_sub(most), 0)?;
    round.expected.recovered.fetch_add(report.recovered_bytes, Relaxed);
    Ok(())
}

/// Returns what a call returns. The call may fail only if the device has failed a call or a callback
/// has panicked as ordered; then this returns the default.
fn excused<T: Default>(round: &Round, call: impl FnOnce() -> Result<T, DeviceError>) -> Result<T, Finding> {
    let troubles = round.faults.troubles();
    round.unless_panicked(call).unwrap_or_else(|| Ok(T::default())).or_else(|error| {
        if round.faults.troubles() > troubles { Ok(T::default()) } else { Err(Finding::Device(error)) }
    })
}

//! The cost of single operations.
//!
//! An operation lasts less than reading a system clock, so this reads the processor's own counter around it.
//! It also measures the cost of that reading and subtracts it. It stores the readings as they come and sorts
//! them afterwards, so that counting them disturbs nothing.

use quanta::Clock;

use super::failures::Failures;
use super::report::Percentiles;
use super::round::Meter;
use warmheap::{AllocError, Buffer, Pool};

/// The number of readings that measure the clock's own cost.
const CALIBRATION: usize = 10_001;

/// Times each allocation and each free, in the clock's ticks.
#[derive(Debug)]
pub(super) struct Stopwatch {
    clock: Clock,
    allocations: Vec<u32>,
    frees: Vec<u32>,
    pub(super) failures: Failures,
}

impl Stopwatch {
    /// Returns a stopwatch with room for `operations` of each kind, so that the growth of a vector slows
    /// none.
    pub(super) fn new(clock: Clock, operations: usize) -> Self {
        let room = || Vec::with_capacity(operations);
        Self { clock, allocations: room(), frees: room(), failures: Failures::default() }
    }
}

impl Meter for Stopwatch {
    #[inline(always)]
    fn allocate(&mut self, pool: &Pool, size: u64) -> Result<Buffer, AllocError> {
        let start = self.clock.raw();
        let buffer = pool.allocate(size);
        let end = self.clock.raw();
        self.allocations.push(ticks(start, end));
        buffer
    }

    fn failed(&mut self, op: usize, size: u64, error: &AllocError) {
        self.failures.add(op, size, error);
    }

    #[inline(always)]
    fn release(&mut self, slot: &mut Option<Buffer>) {
        if slot.is_none() {
            return;
        }
        let start = self.clock.raw();
        *slot = None;
        let end = self.clock.raw();
        self.frees.push(ticks(start, end));
    }
}

/// Returns the difference. It is capped at 2^32 ticks, about a second, where more precision no longer
/// matters.
fn ticks(start: u64, end: u64) -> u32 {
    u32::try_from(end.saturating_sub(start)).unwrap_or(u32::MAX)
}

/// The percentiles of allocations and of frees.
pub(super) type Latencies = (Percentiles, Percentiles);

/// Returns the percentiles of all rounds together and of each round. A round has many stopwatches of one
/// clock, whose reading costs `own_cost` ticks.
pub(super) fn percentiles(
    clock: &Clock,
    own_cost: u32,
    rounds: &[Vec<Stopwatch>],
) -> (Latencies, Vec<Latencies>) {
    let one = |round: &Vec<Stopwatch>| of(clock, own_cost, round.iter());
    (of(clock, own_cost, rounds.iter().flatten()), rounds.iter().map(one).collect())
}

fn of<'a>(clock: &Clock, own_cost: u32, stopwatches: impl Iterator<Item = &'a Stopwatch>) -> Latencies {
    let (mut allocations, mut frees) = (vec![], vec![]);
    for stopwatch in stopwatches {
        allocations.extend(&stopwatch.allocations);
        frees.extend(&stopwatch.frees);
    }
    let of = |readings: &mut [u32]| {
        let at = |readings: &mut [u32], share: f64| {
            if readings.is_empty() {
                return 0.0;
            }
            let rank = (readings.len() as f64 * share) as usize;
            let (_, reading, _) = readings.select_nth_unstable(rank.min(readings.len() - 1));
            nanoseconds(clock, reading.saturating_sub(own_cost))
        };
        Percentiles { p50: at(readings, 0.5), p99: at(readings, 0.99), p999: at(readings, 0.999) }
    };
    (of(&mut allocations), of(&mut frees))
}

/// Returns the cost of a reading of the clock, in ticks, and the clock's step in nanoseconds: the least
/// difference between two costs.
pub(super) fn calibrate(clock: &Clock) -> (u32, f64) {
    let mut readings: Vec<u32> = (0..CALIBRATION).map(|_| ticks(clock.raw(), clock.raw())).collect();
    readings.sort_unstable();
    let cost = readings[CALIBRATION / 2];
    readings.dedup();
    let step = readings.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(1);
    (cost, nanoseconds(clock, step))
}

/// Converts ticks in steps of a tenth, because the clock itself converts to whole nanoseconds.
fn nanoseconds(clock: &Clock, ticks: u32) -> f64 {
    clock.delta_as_nanos(0, u64::from(ticks) * 10) as f64 / 10.0
}

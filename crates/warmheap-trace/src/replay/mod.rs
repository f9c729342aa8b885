//! Plays a program on a pool, and measures.
//!
//! A replay has four kinds of round. The first round uses a fresh pool. It counts peaks, failures and device
//! calls, and on request checks that ranges do not overlap and contents do not change. The timed rounds take
//! the time of whole plays, with nothing else in the loop. The next rounds time single operations. The last
//! one counts peaks again, now that the pool has settled. A round keeps the buffers that are alive at its end
//! until its figures are taken.

mod failures;
mod latency;
mod ledger;
mod phases;
mod report;
mod round;
mod side_by_side;

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use quanta::Clock;

use self::failures::Failures;
use self::latency::Stopwatch;
use self::ledger::Ledger;
use self::round::{Meter, Round};
use crate::Program;
use warmheap::{AllocError, Buffer, Pool};

pub use failures::FirstFailure;
pub use phases::{Phases, play_phases};
pub use report::{DeviceCalls, Percentiles, Report, Rounds};

/// The number of rounds that time single operations. It is large enough that a percentile of thousands does
/// not rest on one interrupt.
const LATENCY_ROUNDS: usize = 3;

/// The options of a replay.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Threads that each play the whole program on the one pool; 0 counts as 1.
    pub threads: usize,
    /// Timed rounds; 0 counts as 1.
    pub rounds: usize,
    /// Check in the first round that live buffers never overlap and keep their contents.
    pub verify: bool,
    /// Let one more thread free all buffers, as completion handlers do.
    pub remote_free: bool,
}

impl Default for Replay {
    fn default() -> Self {
        Self { threads: 1, rounds: 5, verify: false, remote_free: false }
    }
}

/// A failure of the pool that a replay found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Two live buffers share bytes.
    #[error(
        "a buffer of {size} bytes at {address:#x} overlaps a live one of {other_size} bytes at {other:#x}; report this defect of the pool with the trace"
    )]
    Overlap {
        /// The newer buffer's address.
        address: u64,
        /// Its bytes.
        size: u64,
        /// The older buffer's address.
        other: u64,
        /// Its bytes.
        other_size: u64,
    },
    /// A live buffer's contents changed.
    #[error(
        "byte {offset} of a buffer of {size} bytes at {address:#x} changed while it was live; report this defect of the pool with the trace"
    )]
    Changed {
        /// The buffer's address.
        address: u64,
        /// Its bytes.
        size: u64,
        /// The offset of the changed byte.
        offset: u64,
    },
    /// A thread panicked. The others have ended, too.
    #[error("thread {thread} panicked: {words}; report this defect of the pool or its device with the trace")]
    Panicked {
        /// The number of the thread, from 1. The thread that frees for the others comes last.
        thread: usize,
        /// The message of the panic.
        words: String,
    },
    /// The caller of [`Replay::run_until`] stopped it.
    #[error("the replay was stopped")]
    Stopped,
}

impl Replay {
    /// The rounds after the first that are not among [`Replay::rounds`]: those that time single operations, and
    /// the last.
    pub const UNTIMED_LATER_ROUNDS: usize = 1 + LATENCY_ROUNDS;

    /// Returns the number of rounds that [`Replay::run`] plays.
    #[must_use]
    pub fn total_rounds(&self) -> usize {
        1 + self.rounds.max(1) + Self::UNTIMED_LATER_ROUNDS
    }

    /// Plays `program` on `pool`, which should be fresh. Calls `on_round` after each round.
    ///
    /// Counts the allocations that fail, in every round, and skips their frees.
    ///
    /// # Errors
    /// Returns [`ReplayError::Panicked`] if a thread panics. If `verify` is set, returns the first failure of
    /// the pool.
    pub fn run(&self, program: &Program, pool: &Pool, on_round: impl FnMut()) -> Result<Report, ReplayError> {
        self.run_until(&AtomicBool::new(false), program, pool, on_round)
    }

    /// As [`Replay::run`], until another thread sets `stopped`. The replay then frees its buffers and ends
    /// within a thousand operations of each thread.
    ///
    /// # Errors
    /// As [`Replay::run`], and [`ReplayError::Stopped`].
    pub fn run_until(
        &self,
        stopped: &AtomicBool,
        program: &Program,
        pool: &Pool,
        mut on_round: impl FnMut(),
    ) -> Result<Report, ReplayError> {
        let (threads, remote_free) = (self.threads.max(1), self.remote_free);
        let round = Round { program, pool, threads, remote_free, stopped };
        let mut report = self.keep_books(round)?;
        on_round();
        let mut played = 1;
        let mut later = |report: &mut Report, failures: Failures| {
            played += 1;
            report.failed_later += failures.count;
            if report.first_failure.is_none() {
                report.first_failure = failures.first(program, played);
            }
            on_round();
        };
        for _ in 0..self.rounds.max(1) {
            let timed = round.play(Plain::default, None)?;
            let each = timed.wall.as_secs_f64() * 1e9 / (report.events.max(1) as f64);
            report.rounds.ns_per_op.push(each);
            later(&mut report, Failures::of(timed.meters.iter().map(|meter| &meter.failures)));
        }
        report.ns_per_op = median(report.rounds.ns_per_op.clone());
        time_each(round, &mut report, &mut later)?;
        settle(round, &mut report, &mut later)?;
        Ok(report)
    }

    /// Plays the first round and returns all figures but the times.
    fn keep_books(&self, round: Round<'_>) -> Result<Report, ReplayError> {
        let Round { program, pool, .. } = round;
        let calls = || pool.statistics().device_calls;
        let ledger = Ledger::new(self.verify);
        let setup = calls();
        let half = Mutex::new(setup);
        let note_half = || {
            if let Ok(mut half) = half.lock() {
                *half = calls();
            }
        };
        let mut played = round.play(|| &ledger, Some(&note_half))?;
        let half = half.into_inner().unwrap_or(setup);
        let statistics = pool.statistics();
        let threads = round.threads as u64;
        let failures = ledger.take_failures();
        let report = Report {
            threads,
            events: threads * program.summary().events,
            allocations: threads * program.summary().allocations,
            failed: failures.count,
            failed_later: 0,
            first_failure: failures.first(program, 1),
            ns_per_op: 0.0,
            alloc_ns: Percentiles::default(),
            free_ns: Percentiles::default(),
            peak_live_bytes: ledger.peak_bytes(),
            peak_reserved_bytes: pool.peak_reserved_bytes(),
            end_live_bytes: ledger.live_bytes(),
            end_reserved_bytes: pool.reserved_bytes(),
            settled_live_bytes: 0,
            settled_reserved_bytes: 0,
            hit_rate: statistics.hit_rate,
            fallback_allocations: statistics.fallback_allocations,
            device_calls: DeviceCalls {
                setup,
                first_half: half - setup,
                second_half: statistics.device_calls - half,
            },
            rounds: Rounds::default(),
        };
        for slot in played.alive.iter_mut().flatten() {
            (&ledger).release(slot);
        }
        ledger.verdict().map(|()| report)
    }
}

/// Plays the rounds that time single operations.
fn time_each(
    round: Round<'_>,
    report: &mut Report,
    later: &mut impl FnMut(&mut Report, Failures),
) -> Result<(), ReplayError> {
    let clock = Clock::new();
    let (own_cost, step) = latency::calibrate(&clock);
    let room = round.program.summary().allocations as usize;
    let mut rounds = Vec::new();
    for _ in 0..LATENCY_ROUNDS {
        let stopwatches = round.play(|| Stopwatch::new(clock.clone(), room), None)?.meters;
        later(report, Failures::of(stopwatches.iter().map(|stopwatch| &stopwatch.failures)));
        rounds.push(stopwatches);
    }
    let (all, each) = latency::percentiles(&clock, own_cost, &rounds);
    (report.alloc_ns, report.free_ns) = all;
    (report.rounds.alloc_ns, report.rounds.free_ns) = each.into_iter().unzip();
    report.rounds.clock_step_ns = step;
    Ok(())
}

/// Plays a further round, which counts the most requested bytes alive at once and the most bytes held. Resets
/// the pool's statistics, so that its peak is of this round.
fn settle(
    round: Round<'_>,
    report: &mut Report,
    later: &mut impl FnMut(&mut Report, Failures),
) -> Result<(), ReplayError> {
    let ledger = Ledger::new(false);
    round.pool.reset_statistics();
    let mut played = round.play(|| &ledger, None)?;
    report.settled_live_bytes = ledger.peak_bytes();
    report.settled_reserved_bytes = round.pool.peak_reserved_bytes();
    for slot in played.alive.iter_mut().flatten() {
        (&ledger).release(slot);
    }
    later(report, ledger.take_failures());
    Ok(())
}

/// Does nothing but the operation. It counts failures outside the path of success.
#[derive(Debug, Default)]
struct Plain {
    failures: Failures,
}

impl Meter for Plain {
    #[inline(always)]
    fn allocate(&mut self, pool: &Pool, size: u64) -> Result<Buffer, AllocError> {
        pool.allocate(size)
    }

    fn failed(&mut self, op: usize, size: u64, error: &AllocError) {
        self.failures.add(op, size, error);
    }

    #[inline(always)]
    fn release(&mut self, slot: &mut Option<Buffer>) {
        *slot = None;
    }
}

/// Returns the middle figure, or the lower of the two middle ones.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len().saturating_sub(1) / 2;
    figures.get(middle).copied().unwrap_or_default()
}

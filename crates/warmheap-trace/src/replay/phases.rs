//! Plays a program once in parts: before serving, the first token, and the rest.
//!
//! The caller compares pools with it. One of them may be a pool that is switched off and passes everything to
//! its device.

use std::time::{Duration, Instant};

use super::Plain;
use super::failures::FirstFailure;
use super::round::{Slots, drive};
use crate::Program;
use warmheap::Pool;

/// The times of one play.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Phases {
    /// The time of allocations and frees before [`Summary::serving_from`](crate::Summary).
    pub loading: Duration,
    /// The time of allocations and frees after that.
    pub serving: Duration,
    /// The part of it before [`Summary::decoding_from`](crate::Summary), which makes the first token; zero if
    /// the trace does not say where that is.
    pub prefill: Duration,
    /// The part of it from there to [`Summary::second_decode_from`](crate::Summary); zero as above.
    pub first_decode: Duration,
    /// Allocations that failed.
    pub failed: u64,
    /// The first of them. Its round is 1.
    pub first_failure: Option<FirstFailure>,
}

/// Plays `program` on `pool` once, on this thread. `inspect` runs, untimed, while the buffers that are alive
/// at the end still are.
pub fn play_phases(program: &Program, pool: &Pool, inspect: impl FnOnce()) -> Phases {
    let mut meter = Plain::default();
    let mut slots = Slots::new();
    slots.resize_with(program.slots(), || None);
    let summary = program.summary();
    let end = program.ops().len();
    let loaded = summary.serving_from as usize;
    let first_token = summary.decoding_from.map_or(loaded, |op| op as usize);
    let second = summary.second_decode_from.map_or(first_token, |op| op as usize);
    let mut timed = |from: usize, to: usize| {
        let start = Instant::now();
        drive(&program.ops()[from..to], from, program.sizes(), &mut slots, pool, &mut meter);
        start.elapsed()
    };
    let loading = timed(0, loaded);
    let prefill = timed(loaded, first_token);
    let first_decode = timed(first_token, second);
    let serving = prefill + first_decode + timed(second, end);
    inspect();
    Phases {
        loading,
        serving,
        prefill,
        first_decode,
        failed: meter.failures.count,
        first_failure: meter.failures.first(program, 1),
    }
}

//! Plays a program once in two parts: before serving, and serving.
//!
//! The caller compares pools with it. One of them may be a pool that is switched off and passes everything to
//! its device.

use std::time::{Duration, Instant};

use super::Plain;
use super::round::{Slots, drive};
use crate::Program;
use warmheap::Pool;

/// The times of one play.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// The time of allocations and frees before [`Summary::serving_from`](crate::Summary).
    pub loading: Duration,
    /// The time of allocations and frees after that.
    pub serving: Duration,
    /// Allocations that failed.
    pub failed: u64,
}

/// Plays `program` on `pool` once, on this thread. `inspect` runs, untimed, while the buffers that are alive
/// at the end still are.
pub fn play_phases(program: &Program, pool: &Pool, inspect: impl FnOnce()) -> Phases {
    let mut meter = Plain::default();
    let mut slots = Slots::new();
    slots.resize_with(program.slots(), || None);
    let serving_from = program.summary().serving_from as usize;
    let (loading, serving) = program.ops().split_at(serving_from);
    let mut timed = |ops| {
        let start = Instant::now();
        drive(ops, program.sizes(), &mut slots, pool, &mut meter);
        start.elapsed()
    };
    let (loading, serving) = (timed(loading), timed(serving));
    inspect();
    Phases { loading, serving, failed: meter.failed }
}

//! Playing a program once in two parts: what comes before serving, and serving.
//!
//! For comparing pools, among them one that is switched off and passes everything to its device.

use std::time::{Duration, Instant};

use super::Plain;
use super::round::{Slots, drive};
use crate::Program;
use warmheap::Pool;

/// What one play took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Allocating and freeing before [`Summary::serving_from`](crate::Summary).
    pub loading: Duration,
    /// Allocating and freeing from there on.
    pub serving: Duration,
    /// Allocations that nobody could serve.
    pub failed: u64,
}

/// Plays `program` on `pool` once, on this thread. `inspect` runs, untimed, while the buffers
/// alive at the end still are.
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

//! The figures of a replay, for printing or comparing.

use serde::{Deserialize, Serialize};

use super::FirstFailure;

/// The figures of a replay. Memory is in bytes, and `ns` means nanoseconds.
///
/// Memory and counts are those of the first round, which uses a fresh pool. Times are those of the later
/// rounds, on the same pool. What is called settled is of the last round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Threads that each played the whole trace on the one pool.
    pub threads: u64,
    /// Allocations and frees of one round, over all threads.
    pub events: u64,
    /// The allocations among them.
    pub allocations: u64,
    /// Allocations that failed in the first round.
    pub failed: u64,
    /// Allocations that failed in all later rounds together.
    pub failed_later: u64,
    /// The first allocation that failed, in any round.
    pub first_failure: Option<FirstFailure>,
    /// Wall time over `events`; the median of the timed rounds.
    pub ns_per_op: f64,
    /// The time of one allocation, from rounds that time each operation.
    pub alloc_ns: Percentiles,
    /// The time of one free, from rounds that time each operation.
    pub free_ns: Percentiles,
    /// The most requested bytes alive at once.
    pub peak_live_bytes: u64,
    /// The most bytes held from the device at once.
    pub peak_reserved_bytes: u64,
    /// Requested bytes alive when the trace ended.
    pub end_live_bytes: u64,
    /// Bytes held from the device when the trace ended.
    pub end_reserved_bytes: u64,
    /// The most requested bytes alive at once in the last round, over all threads.
    pub settled_live_bytes: u64,
    /// The most bytes held from the device at once in the last round.
    pub settled_reserved_bytes: u64,
    /// The share of the allocations that a heap served, 0 to 1.
    pub hit_rate: f64,
    /// Allocations that only the device could serve.
    pub fallback_allocations: u64,
    /// Calls to the device.
    pub device_calls: DeviceCalls,
    /// The times of each round, whose differences show how far one is to be trusted.
    pub rounds: Rounds,
}

/// The times of single rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rounds {
    /// Wall time over the operations, of each timed round.
    pub ns_per_op: Vec<f64>,
    /// The time of one allocation, of each round that times single operations.
    pub alloc_ns: Vec<Percentiles>,
    /// The time of one free, of each of those rounds.
    pub free_ns: Vec<Percentiles>,
    /// The step of the clock that times single operations, in nanoseconds.
    pub clock_step_ns: f64,
}

/// Percentiles in nanoseconds, less the clock's own cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// One operation in a hundred takes longer.
    pub p99: f64,
    /// One operation in a thousand takes longer.
    pub p999: f64,
}

/// The number of device calls by time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCalls {
    /// Calls before the first allocation, which create and warm heaps.
    pub setup: u64,
    /// Calls in the first half of the trace.
    pub first_half: u64,
    /// Calls in the second half.
    pub second_half: u64,
}

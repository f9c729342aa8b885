//! What a replay found out: plain figures, for printing or comparing.

use serde::{Deserialize, Serialize};

/// The figures of a replay. All bytes are bytes, all `ns` nanoseconds.
///
/// Memory and counts are those of the first round, which meets a fresh pool; times are those of
/// the rounds after it, on the same pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// Threads that each played the whole trace on the one pool.
    pub threads: u64,
    /// Allocations and frees played in a round, over all threads.
    pub events: u64,
    /// Allocations among them.
    pub allocations: u64,
    /// Allocations that nobody could serve.
    pub failed: u64,
    /// Wall time over `events`; the median of the timed rounds.
    pub ns_per_op: f64,
    /// What one allocation took, in rounds that time each.
    pub alloc_ns: Percentiles,
    /// What one free took, in rounds that time each.
    pub free_ns: Percentiles,
    /// The most requested bytes alive at once.
    pub peak_live_bytes: u64,
    /// The most bytes held from the device at once.
    pub peak_reserved_bytes: u64,
    /// Requested bytes alive when the trace ended.
    pub end_live_bytes: u64,
    /// Bytes held from the device when the trace ended.
    pub end_reserved_bytes: u64,
    /// Share of the allocations that a heap served, 0 to 1.
    pub hit_rate: f64,
    /// Allocations that only the device could serve.
    pub fallback_allocations: u64,
    /// Calls to the device.
    pub device_calls: DeviceCalls,
}

/// Nanoseconds that half, 99 % and 99.9 % of the operations stay within; the clock's own cost is
/// taken off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// One operation in a hundred takes longer.
    pub p99: f64,
    /// One operation in a thousand takes longer.
    pub p999: f64,
}

/// When the device was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCalls {
    /// Before the first allocation: heaps created and warmed.
    pub setup: u64,
    /// In the first half of the trace.
    pub first_half: u64,
    /// In the second half.
    pub second_half: u64,
}

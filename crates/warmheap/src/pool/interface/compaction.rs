//! What a compaction may do, and what it did. These are plain values; this module must never move a buffer.
#![forbid(unsafe_code)]

use std::time::Duration;

/// How much one compaction may do. The buffer that uses up the budget is still moved whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionBudget {
    /// The most bytes to copy.
    pub bytes: u64,
    /// The most time to take.
    pub time: Duration,
}

impl CompactionBudget {
    /// A budget that lasts until every buffer has been looked at.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { bytes: u64::MAX, time: Duration::MAX }
    }
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CompactionReport {
    /// The number of buffers that moved.
    pub moved_buffers: u64,
    /// The bytes of those buffers.
    pub moved_bytes: u64,
    /// The bytes that came free in whole pages, where heaps grow in place, or in whole heaps.
    /// [`Pool::trim`](crate::Pool::trim) can give them back now and could not before. Bytes that other
    /// threads took meanwhile are not included.
    pub recovered_bytes: u64,
    /// The number of buffers passed over because they were pinned or in flight.
    pub busy_buffers: u64,
    /// Whether every buffer was looked at. `false` means that the budget was spent before.
    pub finished: bool,
}

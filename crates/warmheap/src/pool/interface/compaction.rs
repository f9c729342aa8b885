//! How much a compaction may do, and what it did.
#![forbid(unsafe_code)]

use std::time::Duration;

/// How much one compaction may do. The buffer that uses it up is still moved whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionBudget {
    /// Bytes copied.
    pub bytes: u64,
    /// Time taken.
    pub time: Duration,
}

impl CompactionBudget {
    /// Until every buffer was looked at.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { bytes: u64::MAX, time: Duration::MAX }
    }
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CompactionReport {
    /// Buffers that lie elsewhere now.
    pub moved_buffers: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// Bytes that came free in whole pages, where heaps grow in place, or in whole heaps: what
    /// [`Pool::trim`](crate::Pool::trim) can give back now and could not before. What other threads took meanwhile is
    /// missing.
    pub recovered_bytes: u64,
    /// Buffers passed over because they were pinned or in flight.
    pub busy_buffers: u64,
    /// Every buffer was looked at; `false` if the budget was spent before.
    pub finished: bool,
}

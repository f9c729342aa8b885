//! Counts the figures that a pool must show.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts what the pool's statistics count, since they were reset.
#[derive(Debug, Default)]
pub(in crate::soak) struct Expected {
    pub(in crate::soak) allocated: AtomicU64,
    pub(in crate::soak) fallbacks: AtomicU64,
    pub(in crate::soak) refused: AtomicU64,
    /// Buffers that came and went within a call, or moved at once. Whether they were fallback buffers is
    /// unknown.
    pub(in crate::soak) unseen: AtomicU64,
    /// Buffers that were alive at the reset.
    pub(in crate::soak) before: AtomicU64,
    /// Compactions on request, and the bytes that they reported as recovered.
    pub(in crate::soak) compactions: AtomicU64,
    pub(in crate::soak) recovered: AtomicU64,
    /// Copies made by growth, and their bytes. All other copies are compaction's.
    pub(in crate::soak) copies: AtomicU64,
    pub(in crate::soak) copied: AtomicU64,
}

impl Expected {
    /// Restarts the counts, as a reset does the statistics. `alive` is the number of buffers now.
    pub(in crate::soak) fn restart(&self, alive: u64) {
        let Self { allocated, fallbacks, refused, unseen, before, .. } = self;
        let Self { compactions, recovered, copies, copied, .. } = self;
        let counters = [allocated, fallbacks, refused, unseen, compactions, recovered, copies, copied];
        counters.iter().for_each(|counter| counter.store(0, Relaxed));
        before.store(alive, Relaxed);
    }
}

//! The typed builder: each setter takes the configuration and returns it changed. The setters check
//! nothing. [`PoolConfig::validate`] does, and a pool calls it before it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings::{Compaction, HeapSizing, Limits, PoolConfig, Scrub, Strategy, ThreadCache};
use crate::setters::setters;

impl PoolConfig {
    /// Sets the buffer sizes in bytes that every heap is warmed for.
    #[must_use]
    pub fn with_warmup_sizes(mut self, sizes: impl IntoIterator<Item = u64>) -> Self {
        self.warmup_sizes = sizes.into_iter().collect();
        self
    }

    /// Sets the most requested bytes that may be alive under `tag`.
    #[must_use]
    pub fn with_quota(mut self, tag: &str, bytes: u64) -> Self {
        self.quotas.insert(tag.to_owned(), bytes);
        self
    }
}

setters! {
    PoolConfig {
        /// Sets the master switch.
        with_enabled => enabled: bool;
        /// Sets how heaps are sized.
        with_heap_sizing => heaps: HeapSizing;
        /// Sets the bytes of each heap.
        with_heap_size => heap_size: u64;
        /// Sets the number of heaps created at start-up.
        with_num_heaps => num_heaps: usize;
        /// Sets whether the pool counts allocations and bytes.
        with_track_statistics => track_statistics: bool;
        /// Sets whether the pool logs exhaustion.
        with_log_exhaustion => log_exhaustion: bool;
        /// Sets the rule that chooses a fixed heap for a request.
        with_strategy => strategy: Strategy;
        /// Sets whether the pool adds heaps as it fills.
        with_dynamic_growth => dynamic_growth: bool;
        /// Sets the most heaps that growth may reach.
        with_max_heaps => max_heaps: usize;
        /// Sets the utilisation (0 to 1) past which a heap is added.
        with_growth_trigger => growth_trigger: f64;
        /// Sets the compaction of fragmented heaps.
        with_compaction => compaction: Compaction;
        /// Sets the bounds of the thread caches.
        with_thread_cache => thread_cache: ThreadCache;
        /// Sets whether threads have heaps of their own.
        with_thread_heaps => thread_heaps: bool;
        /// Sets whether freed memory is cleared.
        with_scrub => scrub: Scrub;
        /// Sets how long memory that no buffer needs stays in the pool. Zero keeps it.
        with_trim_after => trim_after: Duration;
        /// Sets the bounds on what is held from the device.
        with_limits => limits: Limits;
        /// Sets the most requested bytes that may be alive under each tag.
        with_quotas => quotas: BTreeMap<String, u64>;
        /// Sets how long a request that cannot be served waits for memory in flight.
        with_wait => wait: Duration;
    }
}

setters! {
    Compaction {
        /// Sets whether the pool compacts in the background.
        with_enabled => enabled: bool;
        /// Sets the fragmentation (0 to 1) past which a heap is compacted.
        with_threshold => threshold: f64;
        /// Sets the time between two checks of fragmentation.
        with_interval => interval: Duration;
        /// Sets the most bytes copied in one step.
        with_step_bytes => step_bytes: u64;
        /// Sets the most time that one step takes.
        with_step_time => step_time: Duration;
    }
}

setters! {
    Limits {
        /// Sets the bytes past which the pool gives back what no buffer uses.
        with_soft_bytes => soft_bytes: impl Into<Option<u64>>;
        /// Sets the bytes that the pool never exceeds.
        with_hard_bytes => hard_bytes: impl Into<Option<u64>>;
        /// Sets the objects past which the pool gives back those that no buffer uses.
        with_soft_objects => soft_objects: impl Into<Option<u64>>;
        /// Sets the objects that the pool never exceeds.
        with_hard_objects => hard_objects: impl Into<Option<u64>>;
        /// Sets whether the pool also stays within the budget that the device names at start-up.
        with_device_budget => device_budget: bool;
    }
}

//! The typed way to settings: each setter takes the configuration and returns it changed. Nothing
//! is checked here; [`PoolConfig::validate`] does, and a pool does before it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Compaction, HeapSizing, Limits, PoolConfig, Scrub, Strategy, ThreadCache};

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident => $field:ident: $type:ty;)+) => {
        impl PoolConfig {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )+

            /// The sizes in bytes that every heap is warmed for.
            #[must_use]
            pub fn with_warmup_sizes(mut self, sizes: impl IntoIterator<Item = u64>) -> Self {
                self.warmup_sizes = sizes.into_iter().collect();
                self
            }

            /// The most requested bytes that may be alive under `tag`.
            #[must_use]
            pub fn with_quota(mut self, tag: &str, bytes: u64) -> Self {
                self.quotas.insert(tag.to_owned(), bytes);
                self
            }
        }
    };
}

setters! {
    /// The master switch.
    with_enabled => enabled: bool;
    /// How heaps are sized.
    with_heap_sizing => heaps: HeapSizing;
    /// Bytes of each heap.
    with_heap_size => heap_size: u64;
    /// Heaps created at start-up.
    with_num_heaps => num_heaps: usize;
    /// Whether allocations and bytes are counted.
    with_track_statistics => track_statistics: bool;
    /// Whether exhaustion is logged.
    with_log_exhaustion => log_exhaustion: bool;
    /// Which heap serves a request.
    with_strategy => strategy: Strategy;
    /// Whether heaps are added as the pool fills.
    with_dynamic_growth => dynamic_growth: bool;
    /// The most heaps growth may reach.
    with_max_heaps => max_heaps: usize;
    /// The utilisation (0 to 1) past which a heap is added.
    with_growth_trigger => growth_trigger: f64;
    /// Compaction of fragmented heaps.
    with_compaction => compaction: Compaction;
    /// Bounds of the per-thread caches.
    with_thread_cache => thread_cache: ThreadCache;
    /// Whether threads have heaps of their own.
    with_thread_heaps => thread_heaps: bool;
    /// Whether freed memory is cleared.
    with_scrub => scrub: Scrub;
    /// How long memory may lie idle before it goes back; zero is for ever.
    with_trim_after => trim_after: Duration;
    /// Bounds on what is held from the device.
    with_limits => limits: Limits;
    /// The most requested bytes that may be alive under each tag.
    with_quotas => quotas: BTreeMap<String, u64>;
    /// How long a request that cannot be served waits for memory in flight.
    with_wait => wait: Duration;
}

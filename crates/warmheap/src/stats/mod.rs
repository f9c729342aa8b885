//! What a pool can tell about itself: one snapshot, as a struct, as JSON and as Prometheus text.
//!
//! The snapshot is plain data. The pool takes it, `advice` judges it, and the caller
//! prints it; nothing here reaches back into a pool. Each figure is declared once, in `figures`: the
//! struct, its JSON and its Prometheus text follow from that, and tests hold the C header, the Python
//! stub and the documents against [`Statistics::figures`].

#[macro_use]
mod figure;
mod prometheus;
mod slow_path;

pub use figure::{Figure, Kind, Unit};
pub use slow_path::{SlowPath, Stage};

figures! {
    /// Requests that got a buffer, from a heap or by fallback.
    total_allocations: u64 = counter count "warmheap_allocations_total",
    /// Buffers given back.
    total_deallocations: u64 = counter count "warmheap_deallocations_total",
    /// Requests that no heap could serve and the device did.
    fallback_allocations: u64 = counter count "warmheap_fallback_allocations_total",
    /// Requests that failed: neither a heap nor the device could serve them.
    failed_allocations: u64 = counter count "warmheap_failed_allocations_total",
    /// Buffers alive now.
    active_allocations: u64 = gauge count "warmheap_active_allocations",
    /// `(total - fallback) / total`; 1.0 when there were none.
    hit_rate: f64 = gauge ratio "warmheap_hit_ratio",
    /// Heaps held from the device.
    total_heaps: u64 = gauge count "warmheap_heaps",
    /// Heaps with at least one live buffer.
    active_heaps: u64 = gauge count "warmheap_active_heaps",
    /// `used_capacity_mb / total_capacity_mb`, 0 to 1; 0 without heaps.
    utilization: f64 = gauge ratio "warmheap_utilization_ratio",
    /// `1 - largest free block / free`, 0 to 1, over all heaps; 0 when nothing is free.
    fragmentation: f64 = gauge ratio "warmheap_fragmentation_ratio",
    /// The largest request served since the last reset.
    largest_allocation_mb: f64 = gauge mib "warmheap_largest_allocation_bytes",
    /// The mean request served since the last reset.
    avg_allocation_mb: f64 = gauge mib "warmheap_mean_allocation_bytes",
    /// Heap memory held from the device.
    total_capacity_mb: f64 = gauge mib "warmheap_heap_capacity_bytes",
    /// Heap memory under live buffers, rounding included.
    used_capacity_mb: f64 = gauge mib "warmheap_heap_used_bytes",
    /// The most requested bytes alive at once since the last reset, heaps and fallback
    /// together. Exact where one thread uses the pool; where several do, right to 64 MiB for each.
    peak_used_mb: f64 = gauge mib "warmheap_peak_used_bytes",
    /// Memory under live fallback buffers.
    fallback_mb: f64 = gauge mib "warmheap_fallback_bytes",
    /// Free memory that thread caches and the depot keep for the next requests.
    cached_mb: f64 = gauge mib "warmheap_cached_bytes",
    /// Freed memory that is not reused before it can be cleared, heaps and fallback together.
    quarantined_mb: f64 = gauge mib "warmheap_quarantined_bytes",
    /// Calls made to the device since start-up began, warm-up included.
    device_calls: u64 = counter count "warmheap_device_calls_total",
    /// Driver objects held now, on devices where they are scarce beside bytes; 0 elsewhere.
    device_objects: u64 = gauge count "warmheap_device_objects",
    /// The most driver objects that may be held; 0 where there is no such limit.
    device_object_limit: u64 = gauge count "warmheap_device_object_limit",
    /// Requested bytes of retired buffers that wait for their queues.
    in_flight_mb: f64 = gauge mib "warmheap_in_flight_bytes",
    /// How often the memory held from the device passed a soft limit.
    soft_limit_crossings: u64 = counter count "warmheap_soft_limit_crossings_total",
    /// Compactions, on demand and in the background.
    compactions: u64 = counter count "warmheap_compactions_total",
    /// Buffers that compaction has moved.
    moved_buffers: u64 = counter count "warmheap_moved_buffers_total",
    /// The requested bytes of those buffers.
    moved_mb: f64 = counter mib "warmheap_moved_bytes_total",
    /// Memory that compaction brought together in whole pages or heaps.
    recovered_mb: f64 = counter mib "warmheap_recovered_bytes_total",
}

impl Statistics {
    /// `fallback_allocations / total_allocations`; 0.0 when there were none.
    #[must_use]
    pub fn fallback_rate(&self) -> f64 {
        if self.total_allocations == 0 {
            0.0
        } else {
            self.fallback_allocations as f64 / self.total_allocations as f64
        }
    }

    /// The snapshot as one JSON object, keys and units as in this struct.
    #[cfg(feature = "serde")]
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

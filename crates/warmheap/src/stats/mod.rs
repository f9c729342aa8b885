//! The statistics of a pool: a snapshot as a struct, as JSON and as Prometheus text.
//!
//! ```
//! use std::sync::Arc;
//! use warmheap::config::{MIB, PoolConfig};
//! use warmheap::device::sim::SimDevice;
//! use warmheap::{Pool, Statistics};
//!
//! let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic())?;
//! let buffer = pool.allocate(MIB)?;
//! let seen = pool.statistics();
//! assert_eq!((seen.total_allocations, seen.active_allocations), (1, 1));
//! assert!(seen.to_prometheus("main").contains("warmheap_allocations_total{pool=\"main\"} 1\n"));
//! for figure in Statistics::figures() {
//!     println!("{} is {}: {}", figure.name, figure.value(&seen), figure.help);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The snapshot is plain data. The pool takes it, `advice` judges it, and the caller prints it. This
//! module never reads a pool. Each figure is declared once, in `figures`. The struct, its JSON and its
//! Prometheus text follow from that. Tests compare the C header, the Python stub and the documents with
//! [`Statistics::figures`].

#[macro_use]
mod figure;
mod prometheus;
mod sizes;
mod slow_path;

pub use figure::{Figure, Kind, PoolKind, Unit};
pub use prometheus::to_prometheus;
pub use sizes::{SizeBin, SizeHistogram};
pub use slow_path::{SlowPath, Stage};

figures! {
    /// Requests that got a buffer, from a heap or by fallback.
    total_allocations: u64 = counter count "warmheap_allocations_total",
    /// Buffers freed, of those allocated since the last reset. Those that were alive at the reset are taken to
    /// be freed first.
    total_deallocations: u64 = counter count "warmheap_deallocations_total",
    /// Requests that the device served, because no heap could.
    fallback_allocations: u64 = counter count "warmheap_fallback_allocations_total",
    /// Requests that failed, because memory or a quota was short, or the device could not clear the memory.
    failed_allocations: u64 = counter count "warmheap_failed_allocations_total",
    /// Buffers alive now.
    active_allocations: u64 = gauge count "warmheap_active_allocations",
    /// `(total - fallback) / total`, 0 to 1; 1 without requests.
    hit_rate: f64 = gauge ratio "warmheap_hit_ratio",
    /// Heaps held from the device.
    total_heaps: u64 = gauge count "warmheap_heaps",
    /// Heaps that have a span out: in a live buffer, a cache or quarantine.
    active_heaps: u64 = gauge count "warmheap_active_heaps",
    /// `used_capacity_mb / total_capacity_mb`, 0 to 1; 0 without heaps.
    utilization: f64 = gauge ratio "warmheap_utilization_ratio",
    /// `1 - largest free block / free`, 0 to 1, over all heaps; 0 if nothing is free.
    fragmentation: f64 = gauge ratio "warmheap_fragmentation_ratio",
    /// The size of the largest request served since the last reset, growth included.
    largest_allocation_mb: f64 = gauge mib "warmheap_largest_allocation_bytes",
    /// The mean size of the requests served since the last reset, growth included.
    avg_allocation_mb: f64 = gauge mib "warmheap_mean_allocation_bytes",
    /// Heap memory held from the device.
    total_capacity_mb: f64 = gauge mib "warmheap_heap_capacity_bytes",
    /// Heap memory of live buffers, rounding included.
    used_capacity_mb: f64 = gauge mib "warmheap_heap_used_bytes",
    /// The most requested bytes alive at once since the last reset, heaps and fallback together. It is exact
    /// where one thread uses the pool. Each further thread may add what it has freed since its own peak, up to
    /// 130 MiB, or 3 MiB if it only allocates or only frees. A snapshot that is taken while a thread works may
    /// add 1 MiB for that thread, once. It is never too low, nor above the most held.
    peak_used_mb: f64 = gauge mib "warmheap_peak_used_bytes",
    /// Memory of live fallback buffers.
    fallback_mb: f64 = gauge mib "warmheap_fallback_bytes",
    /// Free memory that thread caches and the depot keep for later requests.
    cached_mb: f64 = gauge mib "warmheap_cached_bytes",
    /// Freed memory in quarantine, which the device could not clear yet, heaps and fallback together.
    quarantined_mb: f64 = gauge mib "warmheap_quarantined_bytes",
    /// Calls made to the device since start-up began, warm-up included. A reset does not zero them.
    device_calls: u64 = counter count "warmheap_device_calls_total",
    /// Driver objects held now, such as MTLHeaps and MTLBuffers; 0 on a device without a limit on them.
    device_objects: u64 = gauge count "warmheap_device_objects",
    /// The most driver objects that the device may hold; 0 without such a limit.
    device_object_limit: u64 = gauge count "warmheap_device_object_limit",
    /// Requested bytes of retired buffers that wait for their queues.
    in_flight_mb: f64 = gauge mib "warmheap_in_flight_bytes",
    /// Of the bytes in flight, those whose queue is lost or has no handle left. They come back when the work is
    /// done, or when the last handle of a lost queue goes.
    orphaned_mb: f64 = gauge mib "warmheap_orphaned_bytes",
    /// How often the bytes or objects held from the device passed a soft limit.
    soft_limit_crossings: u64 = counter count "warmheap_soft_limit_crossings_total",
    /// Compactions, on demand and in the background.
    compactions: u64 = counter count "warmheap_compactions_total",
    /// Buffers that compaction has moved.
    moved_buffers: u64 = counter count "warmheap_moved_buffers_total",
    /// Requested bytes of the buffers that compaction has moved.
    moved_mb: f64 = counter mib "warmheap_moved_bytes_total",
    /// Memory that compaction joined into whole free pages or heaps, which a trim can give back.
    recovered_mb: f64 = counter mib "warmheap_recovered_bytes_total",
}

impl Statistics {
    /// Returns `fallback_allocations / total_allocations`, or 0.0 without requests.
    #[must_use]
    pub fn fallback_rate(&self) -> f64 {
        if self.total_allocations == 0 {
            0.0
        } else {
            self.fallback_allocations as f64 / self.total_allocations as f64
        }
    }

    /// Returns the snapshot as one JSON object. Its keys and units are those of this struct.
    #[cfg(feature = "serde")]
    #[must_use]
    pub fn to_json(&self) -> String {
        // A struct of numbers always has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

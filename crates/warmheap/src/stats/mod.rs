//! What a pool can tell about itself: one snapshot, as a struct, as JSON and as Prometheus text.
//!
//! The snapshot is plain data. It is taken by the pool, judged by [`advice`](crate::advice), and
//! printed by whoever asked; nothing here reaches back into a pool.

mod prometheus;

/// A snapshot of a pool, with the guide's names. Figures ending in `_mb` are MiB (2^20 bytes).
///
/// Taken while other threads work, each figure is right for some moment of the call; taken at rest
/// all of them are exact. With `track_statistics: false` the counters stay 0 and the gauges of
/// heaps remain.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Statistics {
    /// Requests answered with a buffer, from a heap or by fallback.
    pub total_allocations: u64,
    /// Buffers given back.
    pub total_deallocations: u64,
    /// Requests that no heap could serve and the device did.
    pub fallback_allocations: u64,
    /// Requests that nobody could serve.
    pub failed_allocations: u64,
    /// Buffers alive now.
    pub active_allocations: u64,
    /// `(total - fallback) / total`; 1.0 when there were none.
    pub hit_rate: f64,
    /// Heaps held from the device.
    pub total_heaps: u64,
    /// Heaps with at least one live buffer.
    pub active_heaps: u64,
    /// `used_capacity_mb / total_capacity_mb`, 0 to 1; 0 without heaps.
    pub utilization: f64,
    /// `1 - largest free block / free`, 0 to 1, over all heaps; 0 when nothing is free.
    pub fragmentation: f64,
    /// The largest request answered since the last reset, in MiB.
    pub largest_allocation_mb: f64,
    /// The mean request answered since the last reset, in MiB.
    pub avg_allocation_mb: f64,
    /// Heap memory held from the device, in MiB.
    pub total_capacity_mb: f64,
    /// Heap memory under live buffers, rounding included, in MiB.
    pub used_capacity_mb: f64,
    /// The most requested bytes alive at once since the last reset, in MiB, heaps and fallback
    /// together. Exact where one thread uses the pool; where several do, right to 64 MiB for each.
    pub peak_used_mb: f64,
    /// Memory under live fallback buffers, in MiB.
    pub fallback_mb: f64,
    /// Free memory held back for the next requests by per-thread caches, in MiB.
    pub cached_mb: f64,
    /// Freed memory that nobody is given until it can be cleared, in MiB, heaps and fallback together.
    pub withheld_mb: f64,
    /// Calls made to the device since start-up began, warm-up included.
    pub device_calls: u64,
    /// Driver objects held now, on devices where they are scarce beside bytes; 0 elsewhere.
    pub device_objects: u64,
    /// The most driver objects that may be held; 0 where there is no such limit.
    pub device_object_limit: u64,
    /// Requested bytes of retired buffers that wait for their queues, in MiB.
    pub in_flight_mb: f64,
    /// How often more came to be held than a soft limit says.
    pub soft_limit_crossings: u64,
    /// Compactions, on demand and in the background.
    pub compactions: u64,
    /// Buffers that compaction has moved.
    pub moved_buffers: u64,
    /// Their requested bytes, in MiB.
    pub moved_mb: f64,
    /// Memory that compaction brought together in whole pages or heaps, in MiB.
    pub recovered_mb: f64,
    /// What was tried when no heap had room.
    pub ladder: Ladder,
}

/// The steps taken, in this order, for requests that no heap had room for.
///
/// After a wait or a callback the climb begins anew; the step that then serves is counted, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Ladder {
    /// Retired buffers whose work has completed are freed.
    pub retired: Step,
    /// Ranges that threads hold back are given up.
    pub caches: Step,
    /// Heaps at rest are claimed back.
    pub empty_heaps: Step,
    /// Movable buffers make room.
    pub compaction: Step,
    /// The device is asked for heap memory.
    pub growth: Step,
    /// The device is asked for a buffer.
    pub fallback: Step,
    /// The request waits for work in flight.
    pub wait: Step,
    /// The program's callbacks are asked to free something.
    pub callbacks: Step,
}

/// How often a step of the ladder was tried, and how often it served the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct Step {
    /// Times tried.
    pub tried: u64,
    /// Times it served.
    pub served: u64,
}

impl Ladder {
    /// Every step with its name, in order.
    #[must_use]
    pub fn steps(&self) -> [(&'static str, Step); 8] {
        [
            ("retired", self.retired),
            ("caches", self.caches),
            ("empty_heaps", self.empty_heaps),
            ("compaction", self.compaction),
            ("growth", self.growth),
            ("fallback", self.fallback),
            ("wait", self.wait),
            ("callbacks", self.callbacks),
        ]
    }
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
        serde_json::to_string(self).expect("a struct of numbers is JSON")
    }
}

//! A snapshot in the Prometheus text format (version 0.0.4). Names and units follow its customs:
//! bytes, ratios, `_total` for what only grows between resets.

use super::{Statistics, Step};
use crate::config::MIB;

struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Statistics) -> f64,
}

const fn counter(name: &'static str, help: &'static str, value: fn(&Statistics) -> f64) -> Metric {
    Metric { name, kind: "counter", help, value }
}

const fn gauge(name: &'static str, help: &'static str, value: fn(&Statistics) -> f64) -> Metric {
    Metric { name, kind: "gauge", help, value }
}

/// MiB are powers of two, so this is exact for any whole number of bytes up to 2^53.
fn bytes(mib: f64) -> f64 {
    mib * MIB as f64
}

#[rustfmt::skip]
static METRICS: [Metric; 27] = [
    counter("warmheap_allocations_total", "Requests answered with a buffer.", |s| s.total_allocations as f64),
    counter("warmheap_deallocations_total", "Buffers given back.", |s| s.total_deallocations as f64),
    counter("warmheap_fallback_allocations_total", "Requests no heap could serve and the device did.", |s| s.fallback_allocations as f64),
    counter("warmheap_failed_allocations_total", "Requests nobody could serve.", |s| s.failed_allocations as f64),
    counter("warmheap_device_calls_total", "Calls made to the device, start-up included.", |s| s.device_calls as f64),
    gauge("warmheap_active_allocations", "Buffers alive now.", |s| s.active_allocations as f64),
    gauge("warmheap_hit_ratio", "Share of requests served from heaps.", |s| s.hit_rate),
    gauge("warmheap_heaps", "Heaps held from the device.", |s| s.total_heaps as f64),
    gauge("warmheap_active_heaps", "Heaps with a live buffer.", |s| s.active_heaps as f64),
    gauge("warmheap_utilization_ratio", "Share of heap memory under live buffers.", |s| s.utilization),
    gauge("warmheap_fragmentation_ratio", "1 minus largest free block over free memory.", |s| s.fragmentation),
    gauge("warmheap_largest_allocation_bytes", "Largest request answered since the last reset.", |s| bytes(s.largest_allocation_mb)),
    gauge("warmheap_mean_allocation_bytes", "Mean request answered since the last reset.", |s| bytes(s.avg_allocation_mb)),
    gauge("warmheap_heap_capacity_bytes", "Heap memory held from the device.", |s| bytes(s.total_capacity_mb)),
    gauge("warmheap_heap_used_bytes", "Heap memory under live buffers.", |s| bytes(s.used_capacity_mb)),
    gauge("warmheap_peak_used_bytes", "Most requested bytes alive at once since the last reset.", |s| bytes(s.peak_used_mb)),
    gauge("warmheap_fallback_bytes", "Memory under live fallback buffers.", |s| bytes(s.fallback_mb)),
    gauge("warmheap_cached_bytes", "Free memory held back by per-thread caches.", |s| bytes(s.cached_mb)),
    gauge("warmheap_withheld_bytes", "Freed memory that is not used until it can be cleared.", |s| bytes(s.withheld_mb)),
    gauge("warmheap_device_objects", "Driver objects held, where they are scarce.", |s| s.device_objects as f64),
    gauge("warmheap_device_object_limit", "The most driver objects that may be held; 0 without a limit.", |s| s.device_object_limit as f64),
    gauge("warmheap_in_flight_bytes", "Retired buffers that wait for their queues.", |s| bytes(s.in_flight_mb)),
    counter("warmheap_soft_limit_crossings_total", "Times more came to be held than a soft limit says.", |s| s.soft_limit_crossings as f64),
    counter("warmheap_compactions_total", "Compactions, on demand and in the background.", |s| s.compactions as f64),
    counter("warmheap_moved_buffers_total", "Buffers moved by compaction.", |s| s.moved_buffers as f64),
    counter("warmheap_moved_bytes_total", "Bytes of those buffers.", |s| bytes(s.moved_mb)),
    counter("warmheap_recovered_bytes_total", "Memory brought together by compaction.", |s| bytes(s.recovered_mb)),
];

const LADDER: &str = "warmheap_ladder_steps_total";

impl Statistics {
    /// The snapshot as Prometheus text, every sample labelled `pool="..."`. To serve several pools
    /// on one page, give each its own label and keep one set of `HELP` and `TYPE` lines.
    #[must_use]
    pub fn to_prometheus(&self, pool: &str) -> String {
        let pool = escaped(pool);
        let head =
            |name: &str, kind: &str, help: &str| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        let mut text = String::new();
        for Metric { name, kind, help, value } in &METRICS {
            let value = value(self);
            text += &format!("{}{name}{{pool=\"{pool}\"}} {value}\n", head(name, kind, help));
        }
        text += &head(LADDER, "counter", "Steps taken when no heap had room, and which of them served.");
        for (step, Step { tried, served }) in self.ladder.steps() {
            for (outcome, count) in [("tried", tried), ("served", served)] {
                let labels = format!("pool=\"{pool}\",step=\"{step}\",outcome=\"{outcome}\"");
                text += &format!("{LADDER}{{{labels}}} {count}\n");
            }
        }
        text
    }
}

/// A label's value may hold anything once these three are escaped.
fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

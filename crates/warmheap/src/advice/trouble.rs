//! Troubleshooting: a start that failed, a pool that runs out, and buffers that are never given back. The
//! titles and sentences are those of `docs/compatibility.md`.

use super::joint::sized;
use super::{Check, Finding, Severity, bytes, mib, peak_mb};
use crate::config::{HeapSizing, PoolConfig, leaves_room, smaller};
use crate::stats::Statistics;

pub(super) const CHECKS: &[Check] = &[exhaustion, failures, unusually_large];

/// A single allocation larger than this is suspicious.
const SUSPICIOUS_MB: f64 = 4096.0;

/// Finds allocations larger than a heap. No number of heaps can serve them.
fn exhaustion(statistics: &Statistics, config: &PoolConfig) -> Option<Finding> {
    let oversize = statistics.largest_allocation_mb > mib(config.heap_size);
    let fixed = config.enabled && config.heaps == HeapSizing::Fixed;
    if !(fixed && oversize && statistics.fallback_allocations > 0) {
        return None;
    }
    let (to, _) = sized(statistics, config);
    Some(
        Finding::new("Pool Exhaustion Warnings", Severity::Error)
            .shown_by([
                ("fallback_allocations", statistics.fallback_allocations as f64),
                ("largest_allocation_mb", statistics.largest_allocation_mb),
                ("heap_size_mb", mib(config.heap_size)),
            ])
            .proposing(config, &to)
            .because(format!(
                "Allocation ({:.1}MB) larger than heap ({:.1}MB)",
                statistics.largest_allocation_mb,
                mib(config.heap_size)
            )),
    )
}

/// Finds requests that neither the heaps nor the device could serve. What stands in the way is not the heaps'
/// size.
fn failures(statistics: &Statistics, config: &PoolConfig) -> Option<Finding> {
    let limits = &config.limits;
    let bounded = [
        (limits.hard_bytes.is_some(), "`limits.hard_mb`"),
        (limits.hard_objects.is_some(), "`limits.hard_objects`"),
        (limits.device_budget, "the device's budget (`limits.device_budget`)"),
        (!config.quotas.is_empty(), "`quotas`"),
    ];
    let mut ways: Vec<_> = bounded.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
    ways.push("the memory of the device");
    (statistics.failed_allocations > 0).then(|| {
        Finding::new("Failed Allocations", Severity::Error)
            .shown_by([
                ("failed_allocations", statistics.failed_allocations as f64),
                ("peak_used_mb", peak_mb(statistics)),
            ])
            .because(format!(
                "requests failed, because less was to be had than they asked for; what may be too low: {}",
                ways.join(", ")
            ))
    })
}

fn unusually_large(statistics: &Statistics, _: &PoolConfig) -> Option<Finding> {
    let large = statistics.largest_allocation_mb > SUSPICIOUS_MB;
    (large && statistics.fallback_allocations > 0).then(|| {
        Finding::new("Unusually Large Allocation", Severity::Warning)
            .shown_by([("largest_allocation_mb", statistics.largest_allocation_mb)])
            .because("Unusually large allocation, check for bugs")
    })
}

/// Proposes what to change after start-up ran out of memory with `available_mb` MiB free. The number of
/// heaps and their size are halved together, until a quarter of the free memory is left to everything else.
/// Returns `None` if memory was not the reason: the pool is off, sizes itself, or would have fitted.
#[must_use]
pub fn start_failure(config: &PoolConfig, available_mb: f64) -> Option<Finding> {
    let capacity = |config: &PoolConfig| mib(config.heap_size) * config.num_heaps as f64;
    let fixed = config.enabled && config.heaps == HeapSizing::Fixed;
    if !fixed || capacity(config) < available_mb {
        return None;
    }
    let mut to = config.clone();
    let fits = |size: u64, heaps: usize| leaves_room(size.saturating_mul(heaps as u64), bytes(available_mb));
    if let Some((heap_size, num_heaps)) = smaller(config.heap_size, config.num_heaps, fits) {
        (to.heap_size, to.num_heaps) = (heap_size, num_heaps);
    }
    Some(
        Finding::new("Initialization Failure", Severity::Error)
            .shown_by([("total_capacity_mb", capacity(config)), ("available_mb", available_mb)])
            .proposing(config, &to)
            .because("the heaps need all the memory that is free; make the pool smaller or free some memory"),
    )
}

/// Finds buffers that were not given back when their pool ended. Pass the pool's last snapshot: before the
/// end, live buffers are not leaks.
#[must_use]
pub fn at_shutdown(statistics: &Statistics) -> Option<Finding> {
    let released = statistics.total_deallocations;
    // A reset leaves the buffers out that were alive then. The gauge has them.
    let since_reset = statistics.total_allocations.saturating_sub(released);
    let leaked = since_reset.max(statistics.active_allocations);
    let acquired = released + leaked;
    (leaked > 0).then(|| {
        Finding::new("Memory Leak Detection", Severity::Error)
            .shown_by([
                ("total_allocations", statistics.total_allocations as f64),
                ("total_deallocations", released as f64),
                ("active_allocations", statistics.active_allocations as f64),
                ("leaked", leaked as f64),
            ])
            .because(format!(
                "Acquired: {acquired}, Released: {released}, Leaked: {leaked} buffers; drop every \
                 buffer before its pool, and look for reference cycles that keep buffers alive"
            ))
    })
}

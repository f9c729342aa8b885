//! Four tuning scenarios: high fallback rate, low utilisation, high concurrency, large models. Each has a
//! threshold, and proposes changed settings. The titles, thresholds and steps are those of
//! `docs/compatibility.md`.

use super::{Check, Finding, Severity, bytes, mib};
use crate::config::{HeapSizing, MAX_HEAP_SIZE, MAX_HEAPS, MIB, PoolConfig, Strategy};
use crate::stats::Statistics;

pub(super) const CHECKS: &[Check] = &[high_fallback_rate, low_utilization, high_concurrency, large_model];

/// The most heaps that a scenario proposes for concurrency. More bring little.
const MANY_HEAPS: usize = 8;
/// A run with more live memory than this counts as a large model.
const LARGE_MODEL_MB: f64 = 10_240.0;
/// The smallest heap proposed for large models.
const LARGE_HEAP: u64 = 2048 * MIB;
const LARGE_WARMUP: [u64; 5] = [32 * MIB, 128 * MIB, 512 * MIB, 1024 * MIB, 2048 * MIB];

/// Scenario 1.
fn high_fallback_rate(statistics: &Statistics, config: &PoolConfig) -> Option<Finding> {
    if statistics.fallback_rate() <= 0.10 {
        return None;
    }
    let finding = Finding::new("High Fallback Rate (>10%)", Severity::Error).shown_by([
        ("fallback_rate", statistics.fallback_rate()),
        ("largest_allocation_mb", statistics.largest_allocation_mb),
        ("heap_size_mb", mib(config.heap_size)),
        ("peak_used_mb", peak_mb(statistics)),
        ("total_capacity_mb", statistics.total_capacity_mb),
    ]);
    if let Some(why) = unsized_heaps(config) {
        return Some(finding.because(why));
    }
    let mut to = config.clone();
    hold_largest(&mut to, statistics);
    hold_peak(&mut to, statistics);
    let why = if to.heap_size != config.heap_size {
        "the largest allocation does not fit a heap"
    } else if to.num_heaps != config.num_heaps {
        "the heaps together are too small for what was alive at once"
    } else {
        to.num_heaps = more_heaps(config.num_heaps);
        "the heaps are large enough in sum, but fragmentation or uneven load left none with room"
    };
    allow_growth(&mut to);
    Some(finding.proposing(config, &to).because(why))
}

/// Scenario 2. A pool without load is always empty, so its peak must be low as well.
fn low_utilization(statistics: &Statistics, config: &PoolConfig) -> Option<Finding> {
    if !is_underused(statistics) {
        return None;
    }
    let wasted = statistics.total_capacity_mb - peak_mb(statistics);
    let finding = Finding::new("Low Utilization (<50%)", Severity::Warning).shown_by([
        ("utilization", statistics.utilization),
        ("total_capacity_mb", statistics.total_capacity_mb),
        ("peak_used_mb", peak_mb(statistics)),
        ("wasted_mb", wasted),
    ]);
    if statistics.fallback_allocations > 0 {
        return Some(finding.because(
            "much of the pool was never used, yet requests fell back: the heaps are too small or \
             fragmented, not too many, so a smaller pool would not help",
        ));
    }
    if let Some(why) = unsized_heaps(config) {
        return Some(finding.because(why));
    }
    let (largest, needed) = (bytes(statistics.largest_allocation_mb), needed(statistics));
    let mut to = config.clone();
    to.num_heaps = heaps_for(needed, to.heap_size).min(config.num_heaps);
    if to.num_heaps == 1 {
        while to.heap_size / 2 >= needed.max(MIB) {
            to.heap_size /= 2;
        }
    }
    // The smallest size stays, or the pool would warm for none.
    let smallest = to.warmup_sizes.iter().min().copied();
    to.warmup_sizes.retain(|size| *size <= largest || Some(*size) == smallest);
    Some(
        finding.proposing(config, &to).because(
            "more than half of the pool was never used; fewer or smaller heaps would have been enough",
        ),
    )
}

/// Scenario 3. A model holds many buffers at once and often passes the threshold without any contention.
/// So the finding is information only.
fn high_concurrency(statistics: &Statistics, config: &PoolConfig) -> Option<Finding> {
    if statistics.active_allocations <= config.num_heaps as u64 || unsized_heaps(config).is_some() {
        return None;
    }
    let mut to = config.clone().with_strategy(Strategy::RoundRobin);
    if !is_underused(statistics) && config.num_heaps < MANY_HEAPS {
        to.num_heaps = (config.num_heaps * 2).min(MANY_HEAPS);
    }
    allow_growth(&mut to);
    if to == *config {
        return None;
    }
    let heaps = config.num_heaps as f64;
    let active = statistics.active_allocations as f64;
    Some(
        Finding::new("High Concurrency", Severity::Info)
            .shown_by([
                ("active_allocations", active),
                ("num_heaps", heaps),
                ("allocations_per_heap", active / heaps),
            ])
            .proposing(config, &to)
            .because(
                "if several threads allocate at once and wait for each other, more heaps spread them; with \
                 one thread, change nothing",
            ),
    )
}

/// Scenario 4.
fn large_model(statistics: &Statistics, config: &PoolConfig) -> Option<Finding> {
    let largest = bytes(statistics.largest_allocation_mb);
    let small_heaps = config.heap_size < LARGE_HEAP || config.heap_size < largest;
    let large = peak_mb(statistics) > LARGE_MODEL_MB && statistics.fallback_allocations > 0;
    if !large || !small_heaps || unsized_heaps(config).is_some() {
        return None;
    }
    let mut to = config.clone();
    to.heap_size = to.heap_size.max(LARGE_HEAP);
    hold_largest(&mut to, statistics);
    hold_peak(&mut to, statistics);
    to.warmup_sizes = LARGE_WARMUP.to_vec();
    allow_growth(&mut to);
    Some(
        Finding::new("Large Models (30B+)", Severity::Warning)
            .shown_by([
                ("peak_used_mb", peak_mb(statistics)),
                ("largest_allocation_mb", statistics.largest_allocation_mb),
                ("heap_size_mb", mib(config.heap_size)),
                ("fallback_allocations", statistics.fallback_allocations as f64),
            ])
            .proposing(config, &to)
            .because("more than 10 GiB were alive and the pool ran out; large models need large heaps"),
    )
}

/// Returns the reason why the settings cannot change the heaps' sizes, if there is one.
fn unsized_heaps(config: &PoolConfig) -> Option<&'static str> {
    if !config.enabled {
        Some("the pool is off (`enabled: false`), so every request goes to the device")
    } else if config.heaps == HeapSizing::Elastic {
        Some("the pool sizes its own heaps, so only the limits of the device can be the reason")
    } else {
        None
    }
}

fn is_underused(statistics: &Statistics) -> bool {
    statistics.total_allocations > 0
        && statistics.utilization < 0.50
        && peak_mb(statistics) < 0.50 * statistics.total_capacity_mb
}

fn peak_mb(statistics: &Statistics) -> f64 {
    statistics.peak_used_mb.max(statistics.used_capacity_mb)
}

/// Returns the bytes of heaps that the peak fills to 80 %, the upper end of an optimal utilisation.
fn needed(statistics: &Statistics) -> u64 {
    bytes(peak_mb(statistics) / 0.80)
}

fn heaps_for(needed: u64, heap_size: u64) -> usize {
    let heaps = needed.div_ceil(heap_size.max(1));
    usize::try_from(heaps).unwrap_or(MAX_HEAPS).clamp(1, MAX_HEAPS)
}

/// Adds half as many heaps: 4 become 6.
fn more_heaps(heaps: usize) -> usize {
    (heaps + heaps.div_ceil(2)).min(MAX_HEAPS)
}

/// Doubles the heap size until a heap is larger than the largest allocation, if it is not.
pub(super) fn hold_largest(config: &mut PoolConfig, statistics: &Statistics) {
    let largest = bytes(statistics.largest_allocation_mb);
    if largest <= config.heap_size {
        return;
    }
    config.heap_size = config.heap_size.max(1);
    while config.heap_size <= largest && config.heap_size < MAX_HEAP_SIZE {
        config.heap_size = (config.heap_size * 2).min(MAX_HEAP_SIZE);
    }
}

/// Adds heaps, at least half as many as there are, until they hold the peak.
fn hold_peak(config: &mut PoolConfig, statistics: &Statistics) {
    let needed = needed(statistics);
    if config.heap_size.saturating_mul(config.num_heaps as u64) >= needed {
        return;
    }
    while config.heap_size < MAX_HEAP_SIZE && needed.div_ceil(config.heap_size.max(1)) > MAX_HEAPS as u64 {
        config.heap_size = (config.heap_size.max(1) * 2).min(MAX_HEAP_SIZE);
    }
    config.num_heaps = more_heaps(config.num_heaps).max(heaps_for(needed, config.heap_size));
}

/// Raises `max_heaps` to `num_heaps` if dynamic growth is on.
fn allow_growth(config: &mut PoolConfig) {
    if config.dynamic_growth {
        config.max_heaps = config.max_heaps.max(config.num_heaps);
    }
}

//! Four tuning scenarios: high fallback rate, low utilisation, high concurrency, large models. Each has a
//! threshold, and proposes changed settings. The titles, thresholds and steps are those of
//! `docs/compatibility.md`.

use super::joint::{LARGE_HEAP, heaps_for, is_large_model, needed, sized};
use super::size::no_sizes;
use super::{Check, Finding, Severity, bytes, mib, peak_mb};
use crate::config::{HeapSizing, MIB, PoolConfig, Strategy};
use crate::stats::Statistics;

pub(super) const CHECKS: &[Check] = &[high_fallback_rate, low_utilization, high_concurrency, large_model];

/// The most heaps that a scenario proposes for concurrency. More bring little.
const MANY_HEAPS: usize = 8;
const LARGE_WARMUP: [u64; 5] = [32 * MIB, 128 * MIB, 512 * MIB, 1024 * MIB, 2048 * MIB];

/// Scenario 1.
fn high_fallback_rate(statistics: &Statistics, config: &PoolConfig) -> Option<Finding> {
    let rate = statistics.fallback_rate();
    let finding = match rate {
        rate if rate > 0.10 => Finding::new("High Fallback Rate (>10%)", Severity::Error),
        // What the grade calls fair: some fallbacks, so that more capacity is worth considering.
        rate if rate >= 0.05 && config.enabled => Finding::new("Some Fallbacks (5-10%)", Severity::Warning),
        _ => return None,
    };
    let finding = finding.shown_by([
        ("fallback_rate", rate),
        ("largest_allocation_mb", statistics.largest_allocation_mb),
        ("heap_size_mb", mib(config.heap_size)),
        ("peak_used_mb", peak_mb(statistics)),
        ("total_capacity_mb", statistics.total_capacity_mb),
    ]);
    if !config.enabled {
        let to = config.clone().with_enabled(true);
        let why = "the pool is off (`enabled: false`), so every request goes to the device";
        return Some(finding.proposing(config, &to).because(why));
    }
    if config.heaps == HeapSizing::Elastic {
        let why =
            "the pool sizes its own heaps, so only limits or the memory of the device can be the reason";
        return Some(finding.because(why));
    }
    let (to, why) = sized(statistics, config);
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
    if no_sizes(config).is_some() {
        return Some(finding.because(
            "the pool keeps what an earlier load took; `trim_after_ms` gives back what no buffer needs",
        ));
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
/// So the finding is information only. A pool that ran out gets more heaps for that reason.
fn high_concurrency(statistics: &Statistics, config: &PoolConfig) -> Option<Finding> {
    if statistics.active_allocations <= config.num_heaps as u64 || no_sizes(config).is_some() {
        return None;
    }
    let mut to = config.clone().with_strategy(Strategy::RoundRobin);
    let ran_out = statistics.fallback_allocations > 0;
    if !ran_out && !is_underused(statistics) && config.num_heaps < MANY_HEAPS {
        to.num_heaps = (config.num_heaps * 2).min(MANY_HEAPS);
    }
    if to.dynamic_growth {
        to.max_heaps = to.max_heaps.max(to.num_heaps);
    }
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
    if !is_large_model(statistics) || !small_heaps || no_sizes(config).is_some() {
        return None;
    }
    let (mut to, _) = sized(statistics, config);
    to.warmup_sizes = LARGE_WARMUP.into_iter().filter(|size| *size <= to.heap_size).collect();
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

fn is_underused(statistics: &Statistics) -> bool {
    statistics.total_allocations > 0
        && statistics.utilization < 0.50
        && peak_mb(statistics) < 0.50 * statistics.total_capacity_mb
}

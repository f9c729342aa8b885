//! The size of a pool, from the statistics of a measured run.

use super::size::{fixed, no_sizes};
use super::{Finding, Recommendation, Severity, bytes};
use crate::config::{MAX_HEAP_SIZE, MIB, PoolConfig};
use crate::stats::Statistics;

/// Recommends the smallest pool of fixed heaps that would have served the measured run without fallback.
/// It has no more heaps than `base`, and every other setting of `base`. A pool that is off or sizes its own
/// heaps keeps its settings.
///
/// The recommendation has `n` heaps of `peak / n` plus the largest request. If no heap had room for the
/// largest request, more than `peak` would be alive; so one always has room. At least a quarter of `peak`
/// is added. Then the pool is 80 % used at its fullest, and has memory for free blocks and rounding.
/// `n` is as large as that quarter allows. Fragmentation can take more than a quarter in principle. To be
/// sure, run the load again with the result.
#[must_use]
pub fn recommend_for_run(statistics: &Statistics, base: &PoolConfig) -> Recommendation {
    let peak = bytes(statistics.peak_used_mb.max(statistics.used_capacity_mb));
    let largest = bytes(statistics.largest_allocation_mb);
    if peak == 0 {
        return Recommendation {
            config: base.clone(),
            findings: vec![
                Finding::new("Nothing Measured", Severity::Info)
                    .because("the statistics count no allocation, so there is nothing to recommend"),
            ],
            explanation: "the settings are unchanged".to_owned(),
        };
    }
    if let Some(why) = no_sizes(base) {
        return Recommendation { config: base.clone(), findings: Vec::new(), explanation: why.to_owned() };
    }
    let room = peak / 4;
    let most = base.num_heaps.max(1) as u64;
    let heaps = (room / largest.max(1)).clamp(1, most);
    let heap_size = (peak.saturating_add(room).div_ceil(heaps))
        .max((peak / heaps).saturating_add(largest))
        .min(MAX_HEAP_SIZE)
        .next_multiple_of(MIB);
    Recommendation {
        config: fixed(base, heap_size, heaps as usize),
        findings: Vec::new(),
        explanation: format!(
            "{heaps} x {} MiB holds the {} MiB that were alive at the peak, and leaves a heap with room for \
             every request, up to the largest of {} MiB",
            heap_size / MIB,
            peak.div_ceil(MIB),
            largest.div_ceil(MIB),
        ),
    }
}

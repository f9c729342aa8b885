//! How large a pool should be after a run has been measured.

use super::size::fixed;
use super::{Finding, Recommendation, Severity, bytes};
use crate::config::{MAX_HEAP_SIZE, MIB, PoolConfig};
use crate::stats::Statistics;

/// The smallest fixed pool that would have served the measured run without fallback, everything else
/// as in `base` and with no more heaps than it has.
///
/// Heaps of `peak / n` plus the largest request, `n` of them, always have room: were none able to take
/// the largest, more than `peak` would be alive. A quarter of `peak` is added at least, which keeps
/// the pool at the guide's 80 % when fullest and pays for holes and rounding; there are as many heaps
/// as that quarter allows. Holes can in principle take more: run it again with the result to be sure.
#[must_use]
pub fn recommend_for_run(statistics: &Statistics, base: &PoolConfig) -> Recommendation {
    let peak = bytes(statistics.peak_used_mb.max(statistics.used_capacity_mb));
    let largest = bytes(statistics.largest_allocation_mb);
    if peak == 0 {
        return Recommendation {
            config: base.clone(),
            findings: vec![
                Finding::new("Nothing Measured", Severity::Info)
                    .because("no allocation was counted, so nothing can be recommended"),
            ],
            explanation: "the settings stay".to_owned(),
        };
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
            "{heaps} x {} MiB holds the {} MiB that were alive at the most and leaves every request, \
             the largest of {} MiB included, a heap with room",
            heap_size / MIB,
            peak.div_ceil(MIB),
            largest.div_ceil(MIB),
        ),
    }
}

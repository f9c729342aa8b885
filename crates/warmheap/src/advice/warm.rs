//! The warm-up sizes that a measured run calls for.

use super::size::{held_warmups, no_sizes};
use super::{Finding, Severity, bytes, follow, mib, peak_mb};
use crate::config::{MIB, PoolConfig};
use crate::stats::{SizeHistogram, Statistics};

/// The most sizes that are proposed. They only add up; more would tell the reader nothing.
const MOST: usize = 4;

/// As [`findings`](super::findings), with warm-up sizes for the memory that was cold when the run began.
///
/// Every heap is warmed from its start, for one buffer of each size side by side. `sizes` are those of the
/// buffers at the peak, or at another moment under load, such as [`LeakReport::sizes`](crate::LeakReport::sizes).
/// Sizes are proposed if the settings warm less than half of what the run used, and never for more than it used.
#[must_use]
pub fn findings_with_sizes(
    statistics: &Statistics,
    config: &PoolConfig,
    sizes: &SizeHistogram,
) -> Vec<Finding> {
    let mut found = super::findings(statistics, config);
    let is_proposed = found.iter().flat_map(|finding| &finding.change).any(|c| c.key == "warmup_sizes");
    if !is_proposed {
        found.extend(cold_start(statistics, config, &follow(config, &found), sizes));
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

/// `to` is `config` with the sizes that other findings propose.
fn cold_start(
    statistics: &Statistics,
    config: &PoolConfig,
    to: &PoolConfig,
    sizes: &SizeHistogram,
) -> Option<Finding> {
    if no_sizes(config).is_some() || !config.track_statistics {
        return None;
    }
    let heaps = to.num_heaps.max(1) as u64;
    let used = bytes(peak_mb(statistics)).div_ceil(heaps).min(to.heap_size);
    let warmed: u64 = held_warmups(&config.warmup_sizes, to.heap_size).iter().sum();
    if used == 0 || warmed >= used / 2 {
        return None;
    }
    let warmup_sizes = covering(used, sizes);
    Some(
        Finding::new("Cold Start", Severity::Warning)
            .shown_by([
                ("peak_used_mb", peak_mb(statistics)),
                ("warmed_mb", mib(warmed.saturating_mul(heaps))),
                ("used_mb_of_each_heap", mib(used)),
            ])
            .proposing(config, &config.clone().with_warmup_sizes(warmup_sizes))
            .because(
                "most of the memory that the run used was not warmed, so its first requests waited for pages; \
                 larger warm-up sizes move that time to the start",
            ),
    )
}

/// Returns sizes that take `bytes` side by side: the usual size of the bins with most bytes, and one for the
/// rest.
fn covering(bytes: u64, sizes: &SizeHistogram) -> Vec<u64> {
    let mut bins = sizes.bins().to_vec();
    bins.sort_by_key(|bin| std::cmp::Reverse(bin.bytes));
    let usual = bins.iter().map(|bin| bin.bytes / bin.buffers.max(1)).filter(|size| *size >= MIB);
    let usual: Vec<u64> = usual.map(|size| size / MIB * MIB).take(MOST - 1).collect();
    let mut covering = held_warmups(&usual, bytes);
    let rest = bytes - covering.iter().sum::<u64>();
    if rest >= MIB {
        covering.push(rest / MIB * MIB);
    } else if covering.is_empty() {
        covering.push(bytes);
    }
    covering.sort_unstable();
    covering
}

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
    if no_sizes(config).is_some() || !config.track_statistics {
        return found;
    }
    let to = follow(config, &found);
    let Some(used) = cold(statistics, &to) else { return found };
    let to = to.with_warmup_sizes(covering(used, sizes));
    // A finding that cuts the sizes must not cut these.
    let mut is_proposed = false;
    for change in found.iter_mut().flat_map(|finding| &mut finding.change) {
        if let Some(value) = to.get(change.key).filter(|_| change.key == "warmup_sizes") {
            change.to = value;
            is_proposed = true;
        }
    }
    if !is_proposed || cold(statistics, config).is_some() {
        let change = config.clone().with_warmup_sizes(to.warmup_sizes);
        found.push(
            Finding::new("Cold Start", Severity::Warning)
                .shown_by([
                    ("peak_used_mb", peak_mb(statistics)),
                    ("used_mb_of_each_heap", mib(used)),
                    ("warmed_mb_of_each_heap", mib(warmed(config))),
                ])
                .proposing(config, &change)
                .because(
                    "most of the memory that the run used was not warmed, so its first requests waited for \
                     pages; larger warm-up sizes move that time to the start",
                ),
        );
        found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    }
    found
}

/// Returns the bytes that the run would use of each heap, if less than half of them is warmed.
fn cold(statistics: &Statistics, config: &PoolConfig) -> Option<u64> {
    let heaps = config.num_heaps.max(1) as u64;
    let used = bytes(peak_mb(statistics)).div_ceil(heaps).min(config.heap_size);
    (warmed(config) < used / 2).then_some(used)
}

/// Returns the bytes of each heap that are warmed.
fn warmed(config: &PoolConfig) -> u64 {
    held_warmups(&config.warmup_sizes, config.heap_size).iter().sum()
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

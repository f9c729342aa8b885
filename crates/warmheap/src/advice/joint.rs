//! The sizes that all findings about too small a pool propose, so that they do not contradict each other.
//!
//! A proposal never takes more memory than it can save: more than four fifths of it were alive at the peak, but
//! for rounding, or the pool had as much before. Where the peak is not known, heaps grow by the steps of
//! `docs/compatibility.md` alone.

use super::{bytes, peak_mb};
use crate::config::{MAX_HEAP_SIZE, MAX_HEAPS, MIB, PoolConfig};
use crate::stats::Statistics;

/// A run with more live memory than this counts as a large model.
pub(super) const LARGE_MODEL_MB: f64 = 10_240.0;
/// Heaps become larger before a proposal has more of them than this.
const MOST_PROPOSED: u64 = 64;
/// The smallest heap proposed for large models.
pub(super) const LARGE_HEAP: u64 = 2048 * MIB;

/// Returns `config` with heaps that would have held the run, and the reason for the change.
pub(super) fn sized(statistics: &Statistics, config: &PoolConfig) -> (PoolConfig, &'static str) {
    let largest = bytes(statistics.largest_allocation_mb);
    let large_model = is_large_model(statistics) && config.heap_size < LARGE_HEAP;
    let mut to = config.clone();
    // A configuration that was not checked may have anything in it.
    to.heap_size = to.heap_size.clamp(1, MAX_HEAP_SIZE);
    to.num_heaps = to.num_heaps.clamp(1, MAX_HEAPS);
    let why = if largest > config.heap_size || large_model {
        enlarge(&mut to, statistics, if large_model { LARGE_HEAP } else { 0 });
        if largest > config.heap_size {
            "the largest allocation does not fit a heap"
        } else {
            "more than 10 GiB were alive; large models need large heaps"
        }
    } else if total(&to) < needed(statistics) {
        hold_peak(&mut to, needed(statistics));
        "the heaps together are too small for what was alive at once"
    } else {
        spread(&mut to, needed(statistics));
        "the heaps are large enough in sum, but fragmentation or uneven load left none with room"
    };
    if to.dynamic_growth {
        to.max_heaps = to.max_heaps.max(to.num_heaps);
    }
    (to, why)
}

/// Returns whether large models' heaps are called for: much was alive, and the pool ran out.
pub(super) fn is_large_model(statistics: &Statistics) -> bool {
    peak_mb(statistics) > LARGE_MODEL_MB && statistics.fallback_allocations > 0
}

/// Returns the bytes of heaps that the peak fills to 80 %, the upper end of an optimal utilisation.
pub(super) fn needed(statistics: &Statistics) -> u64 {
    bytes(peak_mb(statistics) / 0.80).min(MAX_HEAP_SIZE * MAX_HEAPS as u64)
}

pub(super) fn heaps_for(needed: u64, heap_size: u64) -> usize {
    let heaps = needed.div_ceil(heap_size.max(1));
    usize::try_from(heaps).unwrap_or(MAX_HEAPS).clamp(1, MAX_HEAPS)
}

fn total(config: &PoolConfig) -> u64 {
    config.heap_size.saturating_mul(config.num_heaps as u64)
}

/// Makes every heap larger than the largest allocation, and at least `floor`. Takes fewer heaps if the pool would
/// otherwise be larger than it was, and than the run needs.
fn enlarge(config: &mut PoolConfig, statistics: &Statistics, floor: u64) {
    // No configuration has larger heaps, nor more memory.
    let largest = bytes(statistics.largest_allocation_mb).min(MAX_HEAP_SIZE);
    let may_take = needed(statistics).max(total(config));
    let mut doubled = config.heap_size.max(1);
    while (doubled <= largest || doubled < floor) && doubled < MAX_HEAP_SIZE {
        doubled = (doubled * 2).min(MAX_HEAP_SIZE);
    }
    let is_peak_known = bytes(peak_mb(statistics)) >= largest;
    // An eighth more is for rounding.
    let fits_in = |size: u64, heaps: usize| size.saturating_mul(heaps as u64) <= may_take / 8 * 9;
    if !is_peak_known || fits_in(doubled, config.num_heaps) {
        config.heap_size = doubled;
        return hold_peak(config, needed(statistics));
    }
    // Fewer heaps of that size may do.
    let fewer = usize::try_from(may_take / 8 * 9 / doubled).unwrap_or(MAX_HEAPS);
    if doubled.saturating_mul(fewer as u64) >= needed(statistics) {
        (config.heap_size, config.num_heaps) = (doubled, fewer.min(config.num_heaps));
        return;
    }
    // Sizes in steps of an eighth or less.
    let step = (largest.max(1).next_power_of_two() / 8).max(MIB);
    let least = (largest / step + 1).saturating_mul(step).max(floor).min(MAX_HEAP_SIZE);
    let most = usize::try_from(may_take / 8 * 9 / least).unwrap_or(MAX_HEAPS);
    config.num_heaps = config.num_heaps.min(most).max(1);
    let share = may_take / config.num_heaps as u64;
    let up = share.next_multiple_of(step);
    config.heap_size = if fits_in(up, config.num_heaps) { up } else { share / step * step };
    config.heap_size = config.heap_size.clamp(least, MAX_HEAP_SIZE);
}

/// Adds heaps until they hold `needed` bytes. Where one more heap would be far too much, the heaps grow instead.
fn hold_peak(config: &mut PoolConfig, needed: u64) {
    if total(config) >= needed {
        return;
    }
    while config.heap_size < MAX_HEAP_SIZE && needed.div_ceil(config.heap_size.max(1)) > MOST_PROPOSED {
        config.heap_size = (config.heap_size.max(1) * 2).min(MAX_HEAP_SIZE);
    }
    let heaps = heaps_for(needed, config.heap_size);
    if config.heap_size.saturating_mul(heaps as u64) <= needed / 8 * 9 || config.num_heaps > heaps {
        config.num_heaps = heaps;
    } else {
        let share = needed.div_ceil(config.num_heaps as u64);
        config.heap_size = share.checked_next_multiple_of(MIB).unwrap_or(share).min(MAX_HEAP_SIZE);
    }
}

/// Makes fewer and larger heaps of the same memory, which is then in fewer pieces. Where the peak is not known,
/// adds half as many heaps: 4 become 6.
fn spread(config: &mut PoolConfig, needed: u64) {
    let whole = |bytes: u64| if bytes < MIB { bytes } else { bytes / MIB * MIB };
    if needed == 0 {
        config.num_heaps = (config.num_heaps + config.num_heaps.div_ceil(2)).min(MAX_HEAPS);
    } else if config.num_heaps > 1 {
        let (all, fewer) = (total(config), config.num_heaps / 2);
        config.heap_size = whole(all / fewer as u64).min(MAX_HEAP_SIZE);
        config.num_heaps = fewer;
    } else {
        config.heap_size = whole(config.heap_size / 8 * 9).min(MAX_HEAP_SIZE);
    }
}

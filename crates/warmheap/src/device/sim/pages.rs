//! Records which parts of a simulated heap are committed.
//!
//! This module owns ranges of byte offsets that neither overlap nor touch. A heap of any size therefore costs
//! only what its pieces cost. The module knows nothing of devices, budgets or steps.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::Range;

/// Committed ranges: the end of each, by its start.
#[derive(Debug, Default)]
pub(super) struct Pages(BTreeMap<u64, u64>);

impl Pages {
    /// Returns whether all of `range` is committed.
    pub(super) fn cover(&self, range: &Range<u64>) -> bool {
        self.before(range.start).is_some_and(|(_, end)| end >= range.end) || range.is_empty()
    }

    /// Returns whether none of `range` is committed.
    pub(super) fn avoid(&self, range: &Range<u64>) -> bool {
        let next = self.0.range(range.start..).next();
        self.before(range.start).is_none_or(|(_, end)| end <= range.start)
            && next.is_none_or(|(start, _)| *start >= range.end)
    }

    /// Adds a range that is not committed.
    pub(super) fn add(&mut self, range: Range<u64>) {
        let Range { mut start, end } = range;
        if let Some((before, _)) = self.before(start).filter(|(_, end)| *end == start) {
            start = before;
        }
        let end = self.0.remove(&end).unwrap_or(end);
        self.0.insert(start, end);
    }

    /// Removes a range that is committed.
    pub(super) fn remove(&mut self, range: &Range<u64>) {
        let Some((start, end)) = self.before(range.start) else { return };
        self.0.remove(&start);
        for (start, end) in [(start, range.start), (range.end, end)] {
            if start < end {
                self.0.insert(start, end);
            }
        }
    }

    /// Returns the bytes committed.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Returns the last range that starts at or before `offset`.
    fn before(&self, offset: u64) -> Option<(u64, u64)> {
        self.0.range(..=offset).next_back().map(|(start, end)| (*start, *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_agree_with_one_flag_a_page() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut pages, mut flags) = (Pages::default(), [false; 40]);
        for step in 0..20_000 {
            let (start, len) = (rng.usize(0..36), rng.usize(1..5));
            let range = start as u64..(start + len) as u64;
            let part = &mut flags[start..start + len];
            let (all, none) = (part.iter().all(|set| *set), part.iter().all(|set| !set));
            assert_eq!((pages.cover(&range), pages.avoid(&range)), (all, none), "step {step}: {range:?}");
            if none {
                pages.add(range);
                part.fill(true);
            } else if all {
                pages.remove(&range);
                part.fill(false);
            }
            assert_eq!(pages.bytes(), flags.iter().filter(|set| **set).count() as u64, "step {step}");
        }
    }
}

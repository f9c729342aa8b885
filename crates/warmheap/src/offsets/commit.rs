//! Plans for committing and decommitting memory in place.
//!
//! A plan only names a run of pages. The pool asks the device first and books the change afterwards, so a
//! device that refuses leaves the books as they were. Lengths are granules. `page` is the device's step for
//! such changes: every decommitted block starts and ends on a multiple of it.

use super::NONE;
use super::allocator::RangeAllocator;
use super::bins::{Bins, bin_of};
use super::boundary::State;

/// Whole pages inside one decommitted or one free block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRun {
    pub(crate) block: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl RangeAllocator {
    /// The least memory to commit so that a block of `len` granules becomes free, using the free
    /// blocks beside the decommitted. Among equals the lowest address.
    pub(crate) fn plan_growth(&self, len: u32, page: u32) -> Option<PageRun> {
        let mut best: Option<PageRun> = None;
        for index in self.all(&self.decommitted) {
            let gap = *self.blocks.get(index);
            let (below, above) = (self.free_at(gap.before), self.free_at(gap.after));
            let missing = |have: u32| {
                let pages = len.saturating_sub(have).max(1).checked_next_multiple_of(page)?;
                (pages <= gap.len).then_some(pages)
            };
            let end = gap.offset + gap.len;
            let from_start = missing(below).map(|len| PageRun { block: index, offset: gap.offset, len });
            let to_end = missing(above).map(|len| PageRun { block: index, offset: end - len, len });
            let joined = u64::from(below) + u64::from(gap.len) + u64::from(above) >= u64::from(len);
            let whole = joined.then_some(PageRun { block: index, offset: gap.offset, len: gap.len });
            let ways = [from_start, to_end, whole].into_iter().flatten();
            let Some(run) = ways.min_by_key(|run| (run.len, run.offset)) else { continue };
            if best.is_none_or(|best| (run.len, run.offset) < (best.len, best.offset)) {
                best = Some(run);
            }
        }
        best
    }

    /// A planned growth made longer, up to `least` granules, as far as its block goes.
    pub(crate) fn widened(&self, run: PageRun, least: u32, page: u32) -> PageRun {
        let gap = self.blocks.get(run.block);
        let len = least.max(run.len).min(gap.len) / page * page;
        let from_start = run.offset == gap.offset;
        let offset = if from_start { run.offset } else { gap.offset + gap.len - len };
        PageRun { offset, len, ..run }
    }

    /// The whole pages inside the longest free block, at most `want` granules of them (rounded up
    /// to a page), from its end, so that what stays is where allocations look first. Blocks beside
    /// the decommitted block `growing` are left alone: that block grows from them.
    pub(crate) fn plan_trim(&self, want: u32, page: u32, growing: Option<u32>) -> Option<PageRun> {
        // What is committed in a tail joins no free block.
        let spared = growing.filter(|gap| self.tail_at(*gap).is_none()).map(|gap| {
            let gap = self.blocks.get(gap);
            [gap.before, gap.after]
        });
        let pages = |index: u32| {
            if spared.is_some_and(|spared| spared.contains(&index)) { None } else { self.pages(index, page) }
        };
        let mut bin = self.free.last()?;
        // Shorter blocks hold no whole page, however many there are of them.
        let least = bin_of(page);
        while bin >= least {
            let longest = self
                .blocks
                .list(self.free.head(bin))
                .filter_map(|(index, _)| pages(index).map(|range| (index, range)))
                .max_by_key(|(_, (start, end))| end - start);
            if let Some((block, (start, end))) = longest {
                let len = want.max(1).checked_next_multiple_of(page).unwrap_or(want).min(end - start);
                return Some(PageRun { block, offset: end - len, len });
            }
            bin = self.free.below(bin)?;
        }
        None
    }

    /// The whole pages inside a block, from where to where.
    fn pages(&self, block: u32, page: u32) -> Option<(u32, u32)> {
        let block = self.blocks.get(block);
        let start = block.offset.next_multiple_of(page);
        let end = (block.offset + block.len) / page * page;
        (start < end).then_some((start, end))
    }

    /// Granules of whole free pages.
    pub(crate) fn free_pages(&self, page: u32) -> u32 {
        self.all(&self.free).filter_map(|block| self.pages(block, page)).map(|(start, end)| end - start).sum()
    }

    /// The length of a block that is a tail.
    pub(super) fn tail_at(&self, block: u32) -> Option<u32> {
        (block != NONE && self.blocks.get(block).state == State::Tail).then(|| self.blocks.get(block).len)
    }

    /// The length of a block that is free.
    pub(super) fn free_at(&self, block: u32) -> u32 {
        if block == NONE || self.blocks.get(block).state != State::Free {
            0
        } else {
            self.blocks.get(block).len
        }
    }

    pub(super) fn all<'a>(&'a self, bins: &'a Bins) -> impl Iterator<Item = u32> + 'a {
        let mut bin = bins.at_or_above(0);
        std::iter::from_fn(move || {
            let found = bin?;
            bin = bins.at_or_above(found + 1);
            Some(found)
        })
        .flat_map(|bin| self.blocks.list(bins.head(bin)).map(|(index, _)| index))
    }
}

//! Plans for committing and decommitting memory in place.
//!
//! Plans only name ranges: the pool asks the device first and books the change afterwards, so a
//! device that refuses leaves the books as they were. Lengths are granules; `page` is the device's
//! step for such changes, and every void starts and ends on a multiple of it.

use super::NONE;
use super::bins::{Bins, bin_of};
use super::blocks::State;
use super::space::Space;

/// A range inside one void or one free block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) block: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Space {
    /// The least memory to commit so that a block of `len` granules becomes free, using the free
    /// blocks beside the voids. Among equals the lowest address.
    pub(crate) fn plan_growth(&self, len: u32, page: u32) -> Option<Span> {
        let mut best: Option<Span> = None;
        for index in self.all(&self.voids) {
            let void = *self.blocks.get(index);
            let (below, above) = (self.free_at(void.before), self.free_at(void.after));
            let missing = |have: u32| {
                let pages = len.saturating_sub(have).max(1).checked_next_multiple_of(page)?;
                (pages <= void.len).then_some(pages)
            };
            let end = void.offset + void.len;
            let from_start = missing(below).map(|len| Span { block: index, offset: void.offset, len });
            let to_end = missing(above).map(|len| Span { block: index, offset: end - len, len });
            let joined = u64::from(below) + u64::from(void.len) + u64::from(above) >= u64::from(len);
            let whole = joined.then_some(Span { block: index, offset: void.offset, len: void.len });
            let ways = [from_start, to_end, whole].into_iter().flatten();
            let Some(span) = ways.min_by_key(|span| (span.len, span.offset)) else { continue };
            if best.is_none_or(|best| (span.len, span.offset) < (best.len, best.offset)) {
                best = Some(span);
            }
        }
        best
    }

    /// A planned growth made longer, up to `least` granules, as far as its void goes.
    pub(crate) fn widened(&self, span: Span, least: u32, page: u32) -> Span {
        let void = self.blocks.get(span.block);
        let len = least.max(span.len).min(void.len) / page * page;
        let from_start = span.offset == void.offset;
        let offset = if from_start { span.offset } else { void.offset + void.len - len };
        Span { offset, len, ..span }
    }

    /// The whole pages inside the longest free block, at most `want` granules of them (rounded up
    /// to a page), from its end, so that what stays is where allocations look first. Blocks beside
    /// the void `growing` are left alone: they are what it grows from.
    pub(crate) fn plan_trim(&self, want: u32, page: u32, growing: Option<u32>) -> Option<Span> {
        let spared = growing.map(|void| {
            let void = self.blocks.get(void);
            [void.before, void.after]
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
                return Some(Span { block, offset: end - len, len });
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

    /// The length of a block that is free.
    pub(super) fn free_at(&self, block: u32) -> u32 {
        if block == NONE || self.blocks.get(block).state != State::Free {
            0
        } else {
            self.blocks.get(block).len
        }
    }

    fn all<'a>(&'a self, bins: &'a Bins) -> impl Iterator<Item = u32> + 'a {
        let mut bin = bins.at_or_above(0);
        std::iter::from_fn(move || {
            let found = bin?;
            bin = bins.at_or_above(found + 1);
            Some(found)
        })
        .flat_map(|bin| self.blocks.list(bins.head(bin)).map(|(index, _)| index))
    }
}

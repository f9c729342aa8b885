//! Segments: the heaps that one set of books describes. They come and go as a whole.
//!
//! A segment is an address range of its own. Its blocks have no neighbours in another, so nothing merges
//! across its ends, but all segments share the bins: a request finds the tightest free block of all of them
//! at once, however many there are.

use super::NONE;
use super::allocator::{Placed, RangeAllocator};
use super::bins::bin_of;
use super::boundary::{Block, State};

/// The number of free blocks of a size that [`RangeAllocator::allocate_low`] looks at.
const MANY: usize = 64;

/// The free memory of one segment, in granules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SegmentLevels {
    pub(crate) free: u32,
    pub(crate) largest_free: u32,
    pub(crate) used: u32,
}

impl RangeAllocator {
    /// Adds a segment of `len` granules, at least 1, none of them committed. `base` is the address of the
    /// first, in granules, modulo 2^32. Returns its number and its block. Returns `None` if there are too many
    /// segments, or more granules than 32 bits can count.
    pub(crate) fn add(&mut self, len: u32, base: u32) -> Option<(u16, u32)> {
        self.levels.committed.checked_add(len)?;
        let segment = self.bases.iter().position(Option::is_none).unwrap_or(self.bases.len());
        let number = u16::try_from(segment).ok()?;
        self.bases.resize(self.bases.len().max(segment + 1), None);
        self.bases[segment] = Some(base);
        let block = self.blocks.insert((0, len), (number, State::Decommitted), NONE, NONE);
        self.blocks.link(&mut self.decommitted, block);
        Some((number, block))
    }

    /// Removes the segment that a free block is all of.
    pub(crate) fn remove(&mut self, block: u32) {
        let &Block { segment, len, .. } = self.blocks.get(block);
        debug_assert!(self.blocks.get(block).is_whole() && self.blocks.get(block).state == State::Free);
        self.unlink(block, State::Free);
        self.blocks.remove(block);
        self.take_free(len);
        self.levels.committed -= len;
        self.bases[usize::from(segment)] = None;
    }

    /// The free blocks that are a whole segment each, with the segment.
    pub(crate) fn unused(&self) -> impl Iterator<Item = (u32, u16)> {
        let free = self.all(&self.free).map(|index| (index, self.blocks.get(index)));
        free.filter(|(_, block)| block.is_whole()).map(|(index, block)| (index, block.segment))
    }

    /// The granules of all unused segments.
    pub(crate) fn unused_len(&self) -> u64 {
        self.unused().map(|(block, _)| u64::from(self.blocks.get(block).len)).sum()
    }

    /// Counts for each unused segment that it was seen unused once more.
    pub(crate) fn age_unused(&mut self) {
        let unused: Vec<_> = self.unused().map(|(block, _)| block).collect();
        unused.into_iter().for_each(|block| self.blocks.age(block));
    }

    /// An unused segment that was seen unused for `times` calls of [`RangeAllocator::age_unused`] in a row,
    /// as its block and number. A segment of which a small part was used in between may count all the time.
    pub(crate) fn aged(&self, times: u16) -> Option<(u32, u16)> {
        self.unused().find(|(block, _)| self.blocks.get(*block).seen() >= times)
    }

    /// The segment that a block lies in.
    pub(crate) fn segment(&self, block: u32) -> u16 {
        self.blocks.get(block).segment
    }

    /// What is free and used in each segment, by its number. Looks at every block.
    pub(crate) fn segment_levels(&self) -> Vec<SegmentLevels> {
        let mut levels = vec![SegmentLevels::default(); self.bases.len()];
        for (_, block) in self.blocks.iter() {
            let level = &mut levels[usize::from(block.segment)];
            match block.state {
                State::Free => {
                    level.free += block.len;
                    level.largest_free = level.largest_free.max(block.len);
                }
                State::Used => level.used += block.len,
                State::Decommitted | State::Tail | State::Vacant => {}
            }
        }
        levels
    }

    /// As [`RangeAllocator::allocate`], but looks at every free block that may fit.
    pub(crate) fn allocate_thoroughly(&mut self, len: u32, align: u32) -> Option<Placed> {
        let found = self.fitting(len).find(|(_, block)| self.holds(block, len, align));
        found.map(|(index, _)| index).map(|index| self.cut_aligned(index, len, align))
    }

    /// As [`RangeAllocator::allocate`], but from the lowest free block of one segment, if that lies below
    /// `limit`. It looks at a few free blocks of each size, so it may miss one.
    pub(crate) fn allocate_low(&mut self, segment: u16, len: u32, align: u32, limit: u32) -> Option<Placed> {
        let mut lowest: Option<(u32, u32)> = None;
        let mut bin = self.free.at_or_above(bin_of(len));
        while let Some(found) = bin {
            let here = self.blocks.list(self.free.head(found)).filter(|(_, block)| block.segment == segment);
            let fitting =
                here.take(MANY).filter(|(_, block)| block.offset < limit && self.holds(block, len, align));
            lowest = fitting.map(|(index, block)| (block.offset, index)).chain(lowest).min();
            bin = self.free.at_or_above(found + 1);
        }
        lowest.map(|(_, block)| self.cut_aligned(block, len, align))
    }

    /// The free blocks of the bins that may hold `len` granules, the tightest bins first.
    fn fitting(&self, len: u32) -> impl Iterator<Item = (u32, &Block)> {
        let mut bin = self.free.at_or_above(bin_of(len));
        std::iter::from_fn(move || {
            let found = bin?;
            bin = self.free.at_or_above(found + 1);
            Some(found)
        })
        .flat_map(|bin| self.blocks.list(self.free.head(bin)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(lens: &[u32]) -> RangeAllocator {
        let mut ranges = RangeAllocator::new();
        for len in lens {
            let (_, block) = ranges.add(*len, 0).unwrap();
            ranges.commit(block, 0, *len);
        }
        ranges
    }

    #[test]
    fn the_lowest_free_block_is_found_and_none_above_a_limit() {
        let mut ranges = whole(&[64, 64]);
        let blocks: Vec<_> = (0..8).map(|_| ranges.allocate_low(0, 8, 1, 64).unwrap()).collect();
        ranges.release(blocks[1].block);
        ranges.release(blocks[5].block);
        assert_eq!(ranges.allocate_low(0, 8, 1, 8), None);
        assert_eq!(ranges.allocate_low(0, 9, 1, 64), None);
        assert_eq!(ranges.allocate_low(0, 8, 1, 48).map(|placed| placed.offset), Some(8));
        assert_eq!(ranges.allocate_low(0, 8, 1, 40), None);
        // A longer free block further down comes before a tighter one.
        ranges.release(blocks[2].block);
        ranges.release(blocks[3].block);
        assert_eq!(ranges.allocate_low(0, 8, 1, 64).map(|placed| placed.offset), Some(16));
        assert_eq!(ranges.allocate_low(0, 4, 8, 64).map(|placed| placed.offset), Some(24));
    }

    #[test]
    fn the_tightest_block_of_all_segments_is_cut_and_none_merge() {
        let mut ranges = whole(&[100, 40, 60]);
        let placed = ranges.allocate(40, 1).unwrap();
        assert_eq!((placed.segment, placed.offset), (1, 0));
        assert_eq!(ranges.allocate(50, 1).unwrap().segment, 2);
        assert_eq!(ranges.allocate(101, 1), None);
        ranges.release(placed.block);
        let mut unused: Vec<_> = ranges.unused().map(|(_, segment)| segment).collect();
        unused.sort_unstable();
        assert_eq!(unused, [0, 1]);
        let block = ranges.unused().find(|(_, segment)| *segment == 0).unwrap().0;
        ranges.remove(block);
        assert_eq!((ranges.committed(), ranges.free_len()), (100, 50));
        // The number is free for another.
        assert_eq!(ranges.add(8, 0).unwrap().0, 0);
    }

    #[test]
    fn an_unused_segment_ages_until_it_is_used() {
        let mut ranges = whole(&[64]);
        ranges.age_unused();
        assert_eq!(ranges.aged(2), None);
        let placed = ranges.allocate(32, 1).unwrap();
        ranges.age_unused();
        assert_eq!(ranges.aged(1), None);
        ranges.release(placed.block);
        ranges.age_unused();
        assert_eq!(ranges.aged(2), None);
        ranges.age_unused();
        assert!(ranges.aged(2).is_some());
    }

    #[test]
    fn a_fit_behind_many_blocks_of_its_size_is_found_by_the_thorough_search() {
        // All of these are in one bin, and only the one freed first is long enough.
        let mut ranges = whole(&[1 << 20]);
        let lens: Vec<u32> = std::iter::once(1030).chain(std::iter::repeat_n(1025, 20)).collect();
        let blocks: Vec<_> = lens
            .iter()
            .map(|len| {
                let block = ranges.allocate(*len, 1).unwrap().block;
                let _fence = ranges.allocate(1, 1).unwrap();
                block
            })
            .collect();
        let rest = ranges.largest_free();
        let _ = ranges.allocate(rest, 1).unwrap();
        blocks.iter().for_each(|block| ranges.release(*block));
        assert_eq!(bin_of(1030), bin_of(1025));
        assert_eq!(ranges.allocate(1030, 1), None);
        assert!(ranges.allocate_thoroughly(1030, 1).is_some());
        assert_eq!(ranges.allocate_thoroughly(1030, 1), None);
    }
}

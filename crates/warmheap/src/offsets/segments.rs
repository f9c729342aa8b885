//! Segments: the heaps that one set of books describes. They come and go as a whole.
//!
//! A segment is an address range of its own. Its blocks have no neighbours in another, so nothing merges
//! across its ends, but all segments share the bins: a request finds the tightest free block of all of them
//! at once, however many there are.

use super::NONE;
use super::allocator::{Placed, RangeAllocator};
use super::bins::bin_of;
use super::boundary::{Block, State};

/// The number of free blocks of a size that [`allocate_low`] looks at.
const MANY: usize = 64;

/// The free memory of one segment, in granules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SegmentLevels {
    pub(crate) free: u32,
    pub(crate) largest_free: u32,
    pub(crate) used: u32,
}

/// Adds a segment of `len` granules, at least 1, none of them committed. `base` is the address of the
/// first, in granules, modulo 2^32. Returns its number and its block. Returns `None` if there are too many
/// segments, or more granules than 32 bits can count.
pub(crate) fn add(ranges: &mut RangeAllocator, len: u32, base: u32) -> Option<(u16, u32)> {
    ranges.levels.committed.checked_add(len)?;
    let segment = ranges.bases.iter().position(Option::is_none).unwrap_or(ranges.bases.len());
    let number = u16::try_from(segment).ok()?;
    ranges.bases.resize(ranges.bases.len().max(segment + 1), None);
    ranges.bases[segment] = Some(base);
    let block = ranges.blocks.insert((0, len), (number, State::Decommitted), NONE, NONE);
    ranges.blocks.link(&mut ranges.decommitted, block);
    Some((number, block))
}

/// Removes the segment that a free block is all of.
pub(crate) fn remove(ranges: &mut RangeAllocator, block: u32) {
    let &Block { segment, len, .. } = ranges.blocks.get(block);
    debug_assert!(ranges.blocks.get(block).is_whole() && ranges.blocks.get(block).state == State::Free);
    ranges.unlink(block, State::Free);
    ranges.blocks.remove(block);
    ranges.take_free(len);
    ranges.levels.committed -= len;
    ranges.bases[usize::from(segment)] = None;
}

/// The free blocks that are a whole segment each, with the segment.
pub(crate) fn unused(ranges: &RangeAllocator) -> impl Iterator<Item = (u32, u16)> {
    let free = ranges.all(&ranges.free).map(|index| (index, ranges.blocks.get(index)));
    free.filter(|(_, block)| block.is_whole()).map(|(index, block)| (index, block.segment))
}

/// The length of a free block, if it is a whole segment.
#[inline]
pub(crate) fn whole_len(ranges: &RangeAllocator, block: u32) -> Option<u32> {
    let block = ranges.blocks.get(block);
    block.is_whole().then_some(block.len)
}

/// As [`unused`], for segments of `len` granules or more, the shortest first by and large.
pub(crate) fn unused_from(ranges: &RangeAllocator, len: u32) -> impl Iterator<Item = (u32, u16)> {
    let long = fitting(ranges, len).filter(move |(_, block)| block.is_whole() && block.len >= len);
    long.map(|(index, block)| (index, block.segment))
}

/// The granules of all unused segments.
pub(crate) fn unused_len(ranges: &RangeAllocator) -> u64 {
    unused(ranges).map(|(block, _)| u64::from(ranges.blocks.get(block).len)).sum()
}

/// Counts for each unused segment that it was seen unused once more.
pub(crate) fn age_unused(ranges: &mut RangeAllocator) {
    let unused: Vec<_> = unused(ranges).map(|(block, _)| block).collect();
    unused.into_iter().for_each(|block| ranges.blocks.age(block));
}

/// An unused segment that was seen unused for `times` calls of [`age_unused`] in a row,
/// as its block and number. A segment of which a small part was used in between may count all the time.
pub(crate) fn aged(ranges: &RangeAllocator, times: u16) -> Option<(u32, u16)> {
    unused(ranges).find(|(block, _)| ranges.blocks.get(*block).seen() >= times)
}

/// The segment that a block lies in.
pub(crate) fn of_block(ranges: &RangeAllocator, block: u32) -> u16 {
    ranges.blocks.get(block).segment
}

/// What is free and used in each segment, by its number. Looks at every block.
pub(crate) fn levels(ranges: &RangeAllocator) -> Vec<SegmentLevels> {
    let mut levels = vec![SegmentLevels::default(); ranges.bases.len()];
    for (_, block) in ranges.blocks.iter() {
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
pub(crate) fn allocate_thoroughly(ranges: &mut RangeAllocator, len: u32, align: u32) -> Option<Placed> {
    let found = fitting(ranges, len).find(|(_, block)| ranges.holds(block, len, align));
    found.map(|(index, _)| index).map(|index| ranges.cut_aligned(index, len, align))
}

/// As [`RangeAllocator::allocate`], but from the lowest free block of one segment, if that lies below
/// `limit`. It looks at a few free blocks of each size, so it may miss one.
pub(crate) fn allocate_low(
    ranges: &mut RangeAllocator,
    segment: u16,
    len: u32,
    align: u32,
    limit: u32,
) -> Option<Placed> {
    let mut lowest: Option<(u32, u32)> = None;
    let mut bin = ranges.free.at_or_above(bin_of(len));
    while let Some(found) = bin {
        let here = ranges.blocks.list(ranges.free.head(found)).filter(|(_, block)| block.segment == segment);
        let fitting =
            here.take(MANY).filter(|(_, block)| block.offset < limit && ranges.holds(block, len, align));
        lowest = fitting.map(|(index, block)| (block.offset, index)).chain(lowest).min();
        bin = ranges.free.at_or_above(found + 1);
    }
    lowest.map(|(_, block)| ranges.cut_aligned(block, len, align))
}

/// The free blocks of the bins that may hold `len` granules, the tightest bins first.
fn fitting(ranges: &RangeAllocator, len: u32) -> impl Iterator<Item = (u32, &Block)> {
    let mut bin = ranges.free.at_or_above(bin_of(len));
    std::iter::from_fn(move || {
        let found = bin?;
        bin = ranges.free.at_or_above(found + 1);
        Some(found)
    })
    .flat_map(|bin| ranges.blocks.list(ranges.free.head(bin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(lens: &[u32]) -> RangeAllocator {
        let mut ranges = RangeAllocator::new();
        for len in lens {
            let (_, block) = add(&mut ranges, *len, 0).unwrap();
            ranges.commit(block, 0, *len);
        }
        ranges
    }

    #[test]
    fn the_lowest_free_block_is_found_and_none_above_a_limit() {
        let mut ranges = whole(&[64, 64]);
        let blocks: Vec<_> = (0..8).map(|_| allocate_low(&mut ranges, 0, 8, 1, 64).unwrap()).collect();
        ranges.release(blocks[1].block);
        ranges.release(blocks[5].block);
        assert_eq!(allocate_low(&mut ranges, 0, 8, 1, 8), None);
        assert_eq!(allocate_low(&mut ranges, 0, 9, 1, 64), None);
        assert_eq!(allocate_low(&mut ranges, 0, 8, 1, 48).map(|placed| placed.offset), Some(8));
        assert_eq!(allocate_low(&mut ranges, 0, 8, 1, 40), None);
        // A longer free block further down comes before a tighter one.
        ranges.release(blocks[2].block);
        ranges.release(blocks[3].block);
        assert_eq!(allocate_low(&mut ranges, 0, 8, 1, 64).map(|placed| placed.offset), Some(16));
        assert_eq!(allocate_low(&mut ranges, 0, 4, 8, 64).map(|placed| placed.offset), Some(24));
    }

    #[test]
    fn the_tightest_block_of_all_segments_is_cut_and_none_merge() {
        let mut ranges = whole(&[100, 40, 60]);
        let placed = ranges.allocate(40, 1).unwrap();
        assert_eq!((placed.segment, placed.offset), (1, 0));
        assert_eq!(ranges.allocate(50, 1).unwrap().segment, 2);
        assert_eq!(ranges.allocate(101, 1), None);
        ranges.release(placed.block);
        let mut empty: Vec<_> = unused(&ranges).map(|(_, segment)| segment).collect();
        empty.sort_unstable();
        assert_eq!(empty, [0, 1]);
        let block = unused(&ranges).find(|(_, segment)| *segment == 0).unwrap().0;
        remove(&mut ranges, block);
        assert_eq!((ranges.committed(), ranges.free_len()), (100, 50));
        // The number is free for another.
        assert_eq!(add(&mut ranges, 8, 0).unwrap().0, 0);
    }

    #[test]
    fn unused_segments_are_found_by_length() {
        let mut ranges = whole(&[100, 40, 60, 2000]);
        let placed = ranges.allocate(60, 1).unwrap();
        let lens = |ranges: &RangeAllocator, len| {
            let mut lens: Vec<_> =
                unused_from(ranges, len).filter_map(|(block, _)| whole_len(ranges, block)).collect();
            lens.sort_unstable();
            lens
        };
        assert_eq!(lens(&ranges, 1), [40, 100, 2000]);
        assert_eq!(lens(&ranges, 41), [100, 2000]);
        assert!(lens(&ranges, 2001).is_empty());
        let free = ranges.release_into(placed.block);
        assert_eq!(whole_len(&ranges, free), Some(60));
        assert_eq!(lens(&ranges, 60), [60, 100, 2000]);
        let part = ranges.allocate(10, 1).unwrap();
        let rest = ranges.allocate(10, 1).unwrap();
        let free = ranges.release_into(part.block);
        assert_eq!(whole_len(&ranges, free), None);
        let free = ranges.release_into(rest.block);
        assert!(whole_len(&ranges, free).is_some());
    }

    #[test]
    fn an_unused_segment_ages_until_it_is_used() {
        let mut ranges = whole(&[64]);
        age_unused(&mut ranges);
        assert_eq!(aged(&ranges, 2), None);
        let placed = ranges.allocate(32, 1).unwrap();
        age_unused(&mut ranges);
        assert_eq!(aged(&ranges, 1), None);
        ranges.release(placed.block);
        age_unused(&mut ranges);
        assert_eq!(aged(&ranges, 2), None);
        age_unused(&mut ranges);
        assert!(aged(&ranges, 2).is_some());
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
        assert!(allocate_thoroughly(&mut ranges, 1030, 1).is_some());
        assert_eq!(allocate_thoroughly(&mut ranges, 1030, 1), None);
    }
}

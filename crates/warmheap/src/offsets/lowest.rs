//! Placing blocks low in the heap, for compaction.

use super::allocator::{Placed, RangeAllocator};
use super::bins::bin_of;

/// How many free blocks of a size are looked at for one that lies low.
const MANY: usize = 64;

/// As [`RangeAllocator::allocate`], but from the lowest free block, if that lies below `limit`. It looks at
/// a few free blocks of each size, so it may miss one.
pub(crate) fn allocate_below(
    ranges: &mut RangeAllocator,
    len: u32,
    align: u32,
    limit: u32,
) -> Option<Placed> {
    let fits = |offset: u32, have: u32| {
        let skipped = u64::from(ranges.to_aligned(offset, align));
        offset < limit && skipped + u64::from(len) <= u64::from(have)
    };
    let mut lowest: Option<(u32, u32)> = None;
    let mut bin = ranges.free.at_or_above(bin_of(len));
    while let Some(found) = bin {
        let blocks = ranges.blocks.list(ranges.free.head(found)).take(MANY);
        let fitting = blocks.filter(|(_, block)| fits(block.offset, block.len));
        lowest = fitting.map(|(index, block)| (block.offset, index)).chain(lowest).min();
        bin = ranges.free.at_or_above(found + 1);
    }
    lowest.map(|(_, block)| ranges.cut_aligned(block, len, align))
}

#[cfg(test)]
mod tests {
    use super::{RangeAllocator, allocate_below};

    #[test]
    fn the_lowest_free_block_is_found_and_none_above_a_limit() {
        let mut ranges = RangeAllocator::new(64);
        ranges.commit(0, 0, 64);
        let blocks: Vec<_> = (0..8).map(|_| ranges.allocate(8, 1).unwrap()).collect();
        ranges.release(blocks[1].block);
        ranges.release(blocks[5].block);
        assert_eq!(allocate_below(&mut ranges, 8, 1, 8), None);
        assert_eq!(allocate_below(&mut ranges, 9, 1, 64), None);
        assert_eq!(allocate_below(&mut ranges, 8, 1, 48).map(|placed| placed.offset), Some(8));
        assert_eq!(allocate_below(&mut ranges, 8, 1, 40), None);
        // A longer free block further down comes before a tighter one.
        ranges.release(blocks[2].block);
        ranges.release(blocks[3].block);
        assert_eq!(allocate_below(&mut ranges, 8, 1, 64).map(|placed| placed.offset), Some(16));
        assert_eq!(allocate_below(&mut ranges, 4, 8, 64).map(|placed| placed.offset), Some(24));
    }
}

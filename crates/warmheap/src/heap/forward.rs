//! Placing blocks low in the heap, for those who pack it.

use super::bins::bin_of;
use super::space::{Placed, Space};

/// How many holes of a size are looked at for one that lies low.
const MANY: usize = 64;

impl Space {
    /// As [`Space::allocate`], but from the lowest hole, if that lies below `limit`. Looks at a few
    /// holes of each size, so it may miss one.
    pub(crate) fn allocate_below(&mut self, len: u32, align: u32, limit: u32) -> Option<Placed> {
        let fits = |offset: u32, hole: u32| {
            let skipped = u64::from(self.to_aligned(offset, align));
            offset < limit && skipped + u64::from(len) <= u64::from(hole)
        };
        let mut lowest: Option<(u32, u32)> = None;
        let mut bin = self.free.at_or_above(bin_of(len));
        while let Some(found) = bin {
            let holes = self.blocks.list(self.free.head(found)).take(MANY);
            let fitting = holes.filter(|(_, hole)| fits(hole.offset, hole.len));
            lowest = fitting.map(|(index, hole)| (hole.offset, index)).chain(lowest).min();
            bin = self.free.at_or_above(found + 1);
        }
        lowest.map(|(_, hole)| self.cut_aligned(hole, len, align))
    }
}

#[cfg(test)]
mod tests {
    use super::Space;

    #[test]
    fn the_lowest_hole_is_found_and_none_above_a_limit() {
        let mut space = Space::new(64);
        space.commit(0, 0, 64);
        let blocks: Vec<_> = (0..8).map(|_| space.allocate(8, 1).unwrap()).collect();
        space.release(blocks[1].block);
        space.release(blocks[5].block);
        assert_eq!(space.allocate_below(8, 1, 8), None);
        assert_eq!(space.allocate_below(9, 1, 64), None);
        assert_eq!(space.allocate_below(8, 1, 48).map(|placed| placed.offset), Some(8));
        assert_eq!(space.allocate_below(8, 1, 40), None);
        // A longer hole further down comes before a tighter one.
        space.release(blocks[2].block);
        space.release(blocks[3].block);
        assert_eq!(space.allocate_below(8, 1, 64).map(|placed| placed.offset), Some(16));
        assert_eq!(space.allocate_below(4, 8, 64).map(|placed| placed.offset), Some(24));
    }
}

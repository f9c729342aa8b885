//! Allocate and free ranges of one heap.

use super::NONE;
use super::bins::{Bins, bin_end, bin_of};
use super::boundary::{Block, Blocks, State};

/// How many blocks of one bin are looked at for the tightest fit. Bins are 3 % wide, so more
/// would buy little; a bound keeps the worst case flat.
pub(super) const LOOK: usize = 8;

/// A block that was handed out. Lengths and offsets are granules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) block: u32,
    /// From the start of the segment.
    pub(crate) offset: u32,
    pub(crate) segment: u16,
}

/// How much of a heap is committed and how much of that is free, in granules. The fields are in the order
/// of the word, so that making one is a single load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Levels {
    /// With memory behind them.
    pub(crate) committed: u32,
    /// Of those, in no used block.
    pub(crate) free: u32,
}

impl Levels {
    /// Granules in used blocks.
    pub(crate) fn used(self) -> u32 {
        self.committed - self.free
    }

    /// Both in one word, for readers that take no lock.
    #[inline(always)]
    pub(crate) fn into_word(self) -> u64 {
        u64::from(self.free) << 32 | u64::from(self.committed)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        Self { committed: word as u32, free: (word >> 32) as u32 }
    }
}

/// The books of some heaps; see the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct RangeAllocator {
    pub(super) blocks: Blocks,
    pub(super) free: Bins,
    pub(super) decommitted: Bins,
    /// The address of each segment's first granule, counted in granules, modulo 2^32: alignments are of
    /// addresses. `None` for a segment that was removed.
    pub(super) bases: Vec<Option<u32>>,
    pub(super) levels: Levels,
    /// The least that was free since the last call of `take_least_free`.
    least_free: u32,
    pub(super) used_blocks: u32,
}

impl RangeAllocator {
    /// Books without a segment.
    pub(crate) fn new() -> Self {
        Self {
            blocks: Blocks::new(),
            free: Bins::new(),
            decommitted: Bins::new(),
            bases: Vec::new(),
            levels: Levels::default(),
            least_free: 0,
            used_blocks: 0,
        }
    }

    /// Granules from the block's start to the next address that is a multiple of `align`, a power of two.
    #[inline]
    pub(super) fn to_aligned(&self, block: &Block, align: u32) -> u32 {
        let base = self.bases.get(usize::from(block.segment)).copied().flatten().unwrap_or(0);
        base.wrapping_add(block.offset).wrapping_neg() & (align - 1)
    }

    #[inline(always)]
    pub(crate) fn levels(&self) -> Levels {
        self.levels
    }

    /// Granules with memory behind them.
    pub(crate) fn committed(&self) -> u32 {
        self.levels.committed
    }

    /// Committed granules in free blocks.
    pub(crate) fn free_len(&self) -> u32 {
        self.levels.free
    }

    /// Granules handed out.
    pub(crate) fn used_len(&self) -> u32 {
        self.levels.used()
    }

    /// Blocks handed out.
    pub(crate) fn used_blocks(&self) -> u32 {
        self.used_blocks
    }

    /// The longest free block.
    pub(crate) fn largest_free(&self) -> u32 {
        self.free.last().map_or(0, |bin| {
            self.blocks.list(self.free.head(bin)).map(|(_, block)| block.len).max().unwrap_or(0)
        })
    }

    /// A bound on [`RangeAllocator::largest_free`] that costs two bit scans.
    #[inline]
    pub(crate) fn longest_at_most(&self) -> u32 {
        self.free.last().map_or(0, bin_end)
    }

    /// The length of the free block that a request would be cut from, if there is one.
    #[cfg(test)]
    pub(crate) fn best_fit(&self, len: u32) -> Option<u32> {
        self.find(len).map(|index| self.blocks.get(index).len)
    }

    /// Bytes of books kept.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.blocks.metadata_bytes()
    }

    /// Every block handed out.
    pub(crate) fn used(&self) -> impl Iterator<Item = Placed> {
        self.blocks.iter().filter(|(_, block)| block.state == State::Used).map(|(index, block)| Placed {
            block: index,
            offset: block.offset,
            segment: block.segment,
        })
    }

    /// Takes `len` granules at a multiple of `align`; both are at least 1, `align` a power of two.
    #[inline]
    pub(crate) fn allocate(&mut self, len: u32, align: u32) -> Option<Placed> {
        if align > 1 { self.allocate_aligned(len, align) } else { self.allocate_anywhere(len) }
    }

    /// As [`RangeAllocator::allocate`], at any address.
    #[inline(never)]
    pub(crate) fn allocate_anywhere(&mut self, len: u32) -> Option<Placed> {
        let found = self.find(len)?;
        Some(self.cut(found, len))
    }

    #[inline(never)]
    fn allocate_aligned(&mut self, len: u32, align: u32) -> Option<Placed> {
        let found = self.find_aligned(len, align)?;
        Some(self.cut_aligned(found, len, align))
    }

    /// Cuts `len` granules at a multiple of `align` out of a free block that holds them.
    pub(super) fn cut_aligned(&mut self, found: u32, len: u32, align: u32) -> Placed {
        let front = self.to_aligned(self.blocks.get(found), align);
        if front > 0 {
            self.leave_front(found, front);
        }
        self.cut(found, len)
    }

    /// Cuts the first `len` granules off a free block that has them.
    #[inline(always)]
    fn cut(&mut self, found: u32, len: u32) -> Placed {
        let &Block { offset: start, len: whole, before, segment, .. } = self.blocks.get(found);
        let block = if whole == len {
            self.unlink(found, State::Free);
            self.blocks.get_mut(found).state = State::Used;
            found
        } else {
            let block = self.blocks.insert((start, len), (segment, State::Used), before, found);
            self.blocks.resize(&mut self.free, found, (start + len, whole - len));
            block
        };
        self.take_free(len);
        self.used_blocks += 1;
        Placed { block, offset: start, segment }
    }

    /// Makes the first `len` granules of a free block a free block of their own.
    #[cold]
    fn leave_front(&mut self, block: u32, len: u32) {
        let &Block { offset, before, segment, .. } = self.blocks.get(block);
        let front = self.blocks.insert((offset, len), (segment, State::Free), before, block);
        self.link(front, State::Free);
        self.shorten(block, len);
    }

    /// Counts free granules that are free no more.
    #[inline(always)]
    pub(super) fn take_free(&mut self, len: u32) {
        self.levels.free -= len;
        // It is seldom less. Then nothing is stored.
        if self.levels.free < self.least_free {
            self.least_free = self.levels.free;
        }
    }

    /// The least that was free at any moment since this was last called.
    pub(crate) fn take_least_free(&mut self) -> u32 {
        std::mem::replace(&mut self.least_free, self.levels.free)
    }

    /// Cuts a used block into two used blocks; the first keeps `len` granules.
    pub(crate) fn split_used(&mut self, block: u32, len: u32) -> Placed {
        let rest = self.blocks.split(block, len, State::Used);
        self.used_blocks += 1;
        let &Block { offset, segment, .. } = self.blocks.get(rest);
        Placed { block: rest, offset, segment }
    }

    /// Gives a block back.
    #[inline(never)]
    pub(crate) fn release(&mut self, block: u32) {
        self.join(block);
    }

    /// As [`RangeAllocator::release`]. Returns the free block that the block is part of then.
    #[inline(never)]
    pub(crate) fn release_into(&mut self, block: u32) -> u32 {
        self.join(block)
    }

    #[inline(always)]
    fn join(&mut self, block: u32) -> u32 {
        debug_assert_eq!(self.blocks.get(block).state, State::Used);
        self.levels.free += self.blocks.get(block).len;
        self.used_blocks -= 1;
        self.settle(block, State::Free)
    }

    /// Marks `[offset, offset + len)`, inside one decommitted block, as committed and free.
    pub(crate) fn commit(&mut self, block: u32, offset: u32, len: u32) {
        debug_assert_eq!(self.blocks.get(block).state, State::Decommitted);
        self.blocks.unlink(&mut self.decommitted, block);
        let block = self.carve(block, offset, len);
        self.levels.committed += len;
        self.levels.free += len;
        let _ = self.settle(block, State::Free);
    }

    /// Marks `[offset, offset + len)`, inside one free block, as decommitted. Returns the block that it is
    /// part of then.
    pub(crate) fn decommit(&mut self, block: u32, offset: u32, len: u32) -> u32 {
        debug_assert_eq!(self.blocks.get(block).state, State::Free);
        self.blocks.unlink(&mut self.free, block);
        let block = self.carve(block, offset, len);
        self.take_free(len);
        self.levels.committed -= len;
        self.settle(block, State::Decommitted)
    }

    /// A free block that holds `len` granules: the tightest of the first few in the bin of that size,
    /// else one of the next bin.
    #[inline(always)]
    fn find(&self, len: u32) -> Option<u32> {
        let bin = bin_of(len);
        let head = self.free.head(bin);
        if head != NONE {
            let mut best = NONE;
            let mut best_len = u32::MAX;
            for (index, block) in self.blocks.list(head).take(LOOK) {
                if block.len >= len && block.len < best_len {
                    best = index;
                    best_len = block.len;
                    if best_len == len {
                        break;
                    }
                }
            }
            if best != NONE {
                return Some(best);
            }
        }
        self.free.at_or_above(bin + 1).map(|bin| self.free.head(bin))
    }

    /// As [`RangeAllocator::find`] where the offset matters too. A block longer by `align - 1` always fits,
    /// so the walk ends at the first bin past that length.
    fn find_aligned(&self, len: u32, align: u32) -> Option<u32> {
        let mut bin = bin_of(len);
        while let Some(found) = self.free.at_or_above(bin) {
            let fits = self
                .blocks
                .list(self.free.head(found))
                .take(LOOK)
                .find(|(_, block)| self.holds(block, len, align));
            if let Some((index, _)) = fits {
                return Some(index);
            }
            bin = found + 1;
        }
        None
    }

    /// Whether `len` granules at a multiple of `align` fit into the block.
    #[inline]
    pub(super) fn holds(&self, block: &Block, len: u32, align: u32) -> bool {
        u64::from(self.to_aligned(block, align)) + u64::from(len) <= u64::from(block.len)
    }

    /// Cuts `[offset, offset + len)` out of an unlinked block; what is left on either side goes
    /// back to the lists of the block's state. The middle is returned, still unlinked.
    #[inline]
    pub(super) fn carve(&mut self, block: u32, offset: u32, len: u32) -> u32 {
        let state = self.blocks.get(block).state;
        let mut middle = block;
        let front = offset - self.blocks.get(block).offset;
        if front > 0 {
            middle = self.blocks.split(block, front, state);
            self.link(block, state);
        }
        if self.blocks.get(middle).len > len {
            let rest = self.blocks.split(middle, len, state);
            self.link(rest, state);
        }
        middle
    }

    /// Puts an unlinked block into the lists of `state`, merged with neighbours of that state.
    /// Returns the block they are now.
    #[inline(always)]
    pub(super) fn settle(&mut self, block: u32, state: State) -> u32 {
        let &Block { before, after, mut len, .. } = self.blocks.get(block);
        let merges = |blocks: &Blocks, other: u32| other != NONE && blocks.get(other).state == state;
        let below = merges(&self.blocks, before);
        if merges(&self.blocks, after) {
            if !below {
                self.blocks.remove(block);
                self.lengthen(after, state, len, len);
                return after;
            }
            self.unlink(after, state);
            len += self.blocks.get(after).len;
            self.blocks.remove(after);
        }
        if below {
            self.blocks.remove(block);
            self.lengthen(before, state, 0, len);
            return before;
        }
        self.blocks.get_mut(block).state = state;
        self.link(block, state);
        block
    }

    /// Makes a linked block longer by `more`, of which `down` come before its start.
    #[inline(always)]
    fn lengthen(&mut self, block: u32, state: State, down: u32, more: u32) {
        let &Block { offset, len, .. } = self.blocks.get(block);
        let bins = if state == State::Decommitted { &mut self.decommitted } else { &mut self.free };
        self.blocks.resize(bins, block, (offset - down, len + more));
    }

    /// Takes granules, fewer than it has, off the start of a free block.
    #[inline(always)]
    pub(super) fn shorten(&mut self, block: u32, by: u32) {
        let &Block { offset, len, .. } = self.blocks.get(block);
        self.blocks.resize(&mut self.free, block, (offset + by, len - by));
    }

    #[inline(always)]
    fn link(&mut self, block: u32, state: State) {
        let bins = if state == State::Decommitted { &mut self.decommitted } else { &mut self.free };
        self.blocks.link(bins, block);
    }

    #[inline(always)]
    pub(super) fn unlink(&mut self, block: u32, state: State) {
        let bins = if state == State::Decommitted { &mut self.decommitted } else { &mut self.free };
        self.blocks.unlink(bins, block);
    }
}

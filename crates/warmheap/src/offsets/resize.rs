//! Blocks that grow where they are.
//!
//! A used block may take granules from the free block behind it, or from memory that is committed
//! there. A block of whole pages that is known to grow gets *tail* address space behind it: addresses without
//! memory, like a gap, but promised to that one block, so that nothing else is placed there. Kept
//! space is in no bin; it lies directly behind its block and goes back to the decommitted with it.

use super::NONE;
use super::allocator::{Placed, RangeAllocator};
use super::boundary::State;
use super::commit::PageRun;

impl RangeAllocator {
    /// Lengthens a used block to `len` granules out of the free block behind it; `false`, and
    /// nothing changed, if that is too short.
    pub(crate) fn extend(&mut self, block: u32, len: u32) -> bool {
        let more = len - self.blocks.get(block).len;
        let after = self.blocks.get(block).after;
        let have = self.free_at(after);
        if have < more {
            return false;
        }
        if have == more {
            self.unlink(after, State::Free);
            self.blocks.remove(after);
        } else {
            self.shorten(after, more);
        }
        self.blocks.get_mut(block).len = len;
        self.take_free(more);
        true
    }

    /// What to commit behind a used block so that it can have `len` granules: whole pages of the
    /// block's tail, or of the decommitted block behind it or behind the free block there. `None` if there
    /// is not enough of either.
    pub(crate) fn plan_extension(&mut self, block: u32, len: u32, page: u32) -> Option<PageRun> {
        let used = *self.blocks.get(block);
        let more = (len - used.len).checked_next_multiple_of(page)?;
        if self.tail_at(used.after).is_some_and(|tail| tail < more) {
            // The tail is too short: it becomes an ordinary decommitted block.
            self.release_tail(block);
        }
        let mut next = self.blocks.get(block).after;
        let mut missing = len - used.len;
        if self.free_at(next) > 0 {
            missing = missing.saturating_sub(self.free_at(next)).max(1);
            next = self.blocks.get(next).after;
        }
        let missing = missing.checked_next_multiple_of(page)?;
        let behind = (next != NONE).then(|| *self.blocks.get(next))?;
        let room = matches!(behind.state, State::Decommitted | State::Tail) && behind.len >= missing;
        // A tail behind a free block cannot be: the block that owns it lies directly before it.
        room.then_some(PageRun { block: next, offset: behind.offset, len: missing })
    }

    /// Books memory that has been committed by plan, and lengthens the block to `len`. `false` if
    /// the free block before it has become too short meanwhile; the memory is free then.
    pub(crate) fn extend_with(&mut self, block: u32, len: u32, run: PageRun) -> bool {
        if self.tail_at(run.block).is_none() {
            self.commit(run.block, run.offset, run.len);
            return self.extend(block, len);
        }
        let tail = self.blocks.get_mut(run.block);
        tail.offset += run.len;
        tail.len -= run.len;
        if tail.len == 0 {
            self.blocks.remove(run.block);
        }
        self.blocks.get_mut(block).len += run.len;
        self.levels.committed += run.len;
        true
    }

    /// Where a block that may grow to `most` granules would lie: at the end of the longest
    /// decommitted block, far from where other blocks are committed. Shorter than `most` if that block is.
    pub(crate) fn plan_tail(&self, most: u32, page: u32) -> Option<PageRun> {
        let bin = self.decommitted.last()?;
        let (block, gap) = self.blocks.list(self.decommitted.head(bin)).max_by_key(|(_, gap)| gap.len)?;
        let len = most.checked_next_multiple_of(page).unwrap_or(gap.len).min(gap.len);
        Some(PageRun { block, offset: gap.offset + gap.len - len, len })
    }

    /// Books a used block of `len` granules, which have been committed, at the start of planned
    /// room; the rest is its tail. `len` is at least 1 and at most the room's.
    pub(crate) fn place_with_tail(&mut self, room: PageRun, len: u32) -> Placed {
        self.unlink(room.block, State::Decommitted);
        let block = self.carve(room.block, room.offset, room.len);
        self.blocks.get_mut(block).state = State::Used;
        if len < room.len {
            self.blocks.split(block, len, State::Tail);
        }
        self.levels.committed += len;
        self.used_blocks += 1;
        Placed { block, offset: room.offset, segment: self.blocks.get(block).segment }
    }

    /// Makes a block's tail, if it has one, an ordinary decommitted block.
    pub(crate) fn release_tail(&mut self, block: u32) {
        let after = self.blocks.get(block).after;
        if self.tail_at(after).is_some() {
            let _ = self.settle(after, State::Decommitted);
        }
    }
}

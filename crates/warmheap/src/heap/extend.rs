//! Blocks that grow where they are.
//!
//! A used block may take granules from the free block behind it, or from memory that is committed
//! there. A block of whole pages that is known to grow gets *kept* address space behind it: addresses without
//! memory, like a void, but promised to that one block, so that nothing else is placed there. Kept
//! space is in no bin; it lies directly behind its block and goes back to the voids with it.

use super::NONE;
use super::blocks::State;
use super::space::{Placed, Space};
use super::void::Span;

impl Space {
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
    /// space kept for it, or of the void behind it or behind the free block there. `None` if there
    /// is not enough of either.
    pub(crate) fn plan_extension(&mut self, block: u32, len: u32, page: u32) -> Option<Span> {
        let used = *self.blocks.get(block);
        let more = (len - used.len).checked_next_multiple_of(page)?;
        if self.kept_at(used.after).is_some_and(|kept| kept < more) {
            // More than was thought of: what was kept is a void like any other from now on.
            self.forsake(block);
        }
        let mut next = self.blocks.get(block).after;
        let mut missing = len - used.len;
        if self.free_at(next) > 0 {
            missing = missing.saturating_sub(self.free_at(next)).max(1);
            next = self.blocks.get(next).after;
        }
        let missing = missing.checked_next_multiple_of(page)?;
        let behind = (next != NONE).then(|| *self.blocks.get(next))?;
        let room = matches!(behind.state, State::Void | State::Kept) && behind.len >= missing;
        // Kept space behind a free block would be another's; there is none: its block lies between.
        room.then_some(Span { block: next, offset: behind.offset, len: missing })
    }

    /// Books memory that has been committed by plan, and lengthens the block to `len`. `false` if
    /// the hole before a void has become too short meanwhile; the memory is free then.
    pub(crate) fn extend_with(&mut self, block: u32, len: u32, span: Span) -> bool {
        if self.kept_at(span.block).is_none() {
            self.commit(span.block, span.offset, span.len);
            return self.extend(block, len);
        }
        let kept = self.blocks.get_mut(span.block);
        kept.offset += span.len;
        kept.len -= span.len;
        if kept.len == 0 {
            self.blocks.remove(span.block);
        }
        self.blocks.get_mut(block).len += span.len;
        self.levels.committed += span.len;
        true
    }

    /// Where a block that may grow to `most` granules would lie: at the end of the longest void,
    /// far from where other blocks are committed. Shorter than `most` if that void is.
    pub(crate) fn plan_room(&self, most: u32, page: u32) -> Option<Span> {
        let bin = self.voids.last()?;
        let (block, void) = self.blocks.list(self.voids.head(bin)).max_by_key(|(_, void)| void.len)?;
        let len = most.checked_next_multiple_of(page).unwrap_or(void.len).min(void.len);
        Some(Span { block, offset: void.offset + void.len - len, len })
    }

    /// Books a used block of `len` granules, which have been committed, at the start of planned
    /// room; the rest is kept for it. `len` is at least 1 and at most the room's.
    pub(crate) fn settle_in(&mut self, room: Span, len: u32) -> Placed {
        self.unlink(room.block, State::Void);
        let block = self.carve(room.block, room.offset, room.len);
        self.blocks.get_mut(block).state = State::Used;
        if len < room.len {
            self.blocks.split(block, len, State::Kept);
        }
        self.levels.committed += len;
        self.used_blocks += 1;
        Placed { block, offset: room.offset }
    }

    /// Makes what is kept for a block, if anything is, a void again.
    pub(crate) fn forsake(&mut self, block: u32) {
        let after = self.blocks.get(block).after;
        if self.kept_at(after).is_some() {
            let _ = self.settle(after, State::Void);
        }
    }

    /// The length of a block that is kept space.
    fn kept_at(&self, block: u32) -> Option<u32> {
        (block != NONE && self.blocks.get(block).state == State::Kept).then(|| self.blocks.get(block).len)
    }
}

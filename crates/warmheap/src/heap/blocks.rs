//! The table of blocks: address-ordered neighbours, list links and states, by index.

use super::NONE;
use super::bins::{Bins, bin_of};

/// What a block's granules are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Handed out.
    Used,
    /// Committed and available.
    Free,
    /// Address space without memory.
    Void,
    /// Not a block: a recycled table entry.
    Vacant,
}

/// One block: 32 bytes, so that an index becomes an address by one shift.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Block {
    pub(crate) offset: u32,
    pub(crate) len: u32,
    /// Neighbours in address order.
    pub(crate) before: u32,
    pub(crate) after: u32,
    /// Neighbours in the list of its bin, or the next vacant entry.
    list_prev: u32,
    list_next: u32,
    pub(crate) state: State,
}

/// All blocks of a heap. Indices are stable while a block lives and reused afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Blocks {
    table: Vec<Block>,
    vacant: u32,
}

impl Blocks {
    pub(crate) fn new() -> Self {
        Self { table: Vec::new(), vacant: NONE }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &Block {
        &self.table[index as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Block {
        &mut self.table[index as usize]
    }

    /// Bytes of books kept.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.table.capacity() * size_of::<Block>()
    }

    /// Every block that is not vacant, in table order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Block)> {
        (0..).zip(&self.table).filter(|(_, block)| block.state != State::Vacant)
    }

    /// Makes a block between `before` and `after` and links it to both.
    #[inline]
    pub(crate) fn insert(&mut self, block: (u32, u32), state: State, before: u32, after: u32) -> u32 {
        let entry =
            Block { offset: block.0, len: block.1, before, after, list_prev: NONE, list_next: NONE, state };
        let index = if self.vacant == NONE {
            self.table.push(entry);
            (self.table.len() - 1) as u32
        } else {
            let index = self.vacant;
            self.vacant = self.get(index).list_next;
            *self.get_mut(index) = entry;
            index
        };
        if before != NONE {
            self.get_mut(before).after = index;
        }
        if after != NONE {
            self.get_mut(after).before = index;
        }
        index
    }

    /// Takes a block out of the address order; its granules belong to a neighbour now.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) {
        let Block { before, after, .. } = *self.get(index);
        if before != NONE {
            self.get_mut(before).after = after;
        }
        if after != NONE {
            self.get_mut(after).before = before;
        }
        let vacant = self.vacant;
        let block = self.get_mut(index);
        block.state = State::Vacant;
        block.list_next = vacant;
        self.vacant = index;
    }

    /// Cuts `index` so that it keeps its first `len` granules; the rest becomes a new block.
    #[inline]
    pub(crate) fn split(&mut self, index: u32, len: u32, rest: State) -> u32 {
        let block = self.get_mut(index);
        let (offset, whole, after) = (block.offset, block.len, block.after);
        block.len = len;
        self.insert((offset + len, whole - len), rest, index, after)
    }

    /// Puts a block at the head of its bin.
    #[inline]
    pub(crate) fn link(&mut self, bins: &mut Bins, index: u32) {
        let bin = bin_of(self.get(index).len);
        let head = bins.head(bin);
        if head != NONE {
            self.get_mut(head).list_prev = index;
        }
        let block = self.get_mut(index);
        block.list_prev = NONE;
        block.list_next = head;
        bins.set_head(bin, index);
    }

    /// Takes a block out of its bin; its length must be what it was when it was linked.
    #[inline]
    pub(crate) fn unlink(&mut self, bins: &mut Bins, index: u32) {
        let Block { list_prev, list_next, len, .. } = *self.get(index);
        if list_next != NONE {
            self.get_mut(list_next).list_prev = list_prev;
        }
        if list_prev == NONE {
            bins.set_head(bin_of(len), list_next);
        } else {
            self.get_mut(list_prev).list_next = list_next;
        }
    }

    /// The blocks of a bin, newest first.
    #[inline]
    pub(crate) fn list(&self, head: u32) -> impl Iterator<Item = (u32, &Block)> {
        let mut next = head;
        std::iter::from_fn(move || {
            let index = next;
            let block = self.table.get(index as usize)?;
            next = block.list_next;
            Some((index, block))
        })
    }
}

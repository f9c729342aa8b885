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
    /// Addresses without memory.
    Decommitted,
    /// Addresses without memory, reserved for the block before it to grow into.
    Tail,
    /// Not a block: a recycled table entry.
    Vacant,
}

/// One block, in 32 bytes, so that an index becomes an address by one shift. It is aligned to half of that:
/// over-aligned vectors are copied instead of remapped when they grow.
#[derive(Debug, Clone, Copy)]
#[repr(align(16))]
pub(crate) struct Block {
    pub(crate) offset: u32,
    pub(crate) len: u32,
    /// Neighbours in address order.
    pub(crate) before: u32,
    pub(crate) after: u32,
    /// Neighbours in the list of its bin, or the next vacant entry.
    list_prev: u32,
    list_next: u32,
    place: Place,
    /// The segment that it lies in.
    pub(crate) segment: u16,
    pub(crate) state: State,
}

/// A block's place among the bins. It is stored whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4))]
struct Place {
    /// The bin that the block is linked into.
    bin: u16,
    /// How often the block was seen since it was linked there; see [`Blocks::age`].
    seen: u16,
}

impl Block {
    /// How often the block was seen since it was linked into its bin.
    pub(crate) fn seen(&self) -> u16 {
        self.place.seen
    }

    /// Whether the block is all of its segment.
    pub(crate) fn is_whole(&self) -> bool {
        self.before == NONE && self.after == NONE
    }
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

    #[inline(always)]
    pub(crate) fn get(&self, index: u32) -> &Block {
        &self.table[index as usize]
    }

    #[inline(always)]
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
    #[inline(always)]
    pub(crate) fn insert(
        &mut self,
        (offset, len): (u32, u32),
        (segment, state): (u16, State),
        before: u32,
        after: u32,
    ) -> u32 {
        if self.vacant == NONE {
            self.lengthen();
        }
        let index = self.vacant;
        let table = self.table.as_mut_slice();
        let block = &mut table[index as usize];
        self.vacant = block.list_next;
        // Field by field: the next reader loads them so, too. A load that spans several narrower stores
        // stalls.
        (block.offset, block.len) = (offset, len);
        (block.before, block.after) = (before, after);
        (block.segment, block.state) = (segment, state);
        if let Some(block) = table.get_mut(before as usize) {
            block.after = index;
        }
        if let Some(block) = table.get_mut(after as usize) {
            block.before = index;
        }
        index
    }

    /// Lengthens the table by a vacant block.
    #[cold]
    #[inline(never)]
    fn lengthen(&mut self) {
        if self.table.len() == self.table.capacity() {
            // By a 64th, not twofold: the table is most of the books of a large heap.
            self.table.reserve_exact((self.table.len() / 64).max(64));
        }
        let list_next = std::mem::replace(&mut self.vacant, self.table.len() as u32);
        let (offset, len, before, after, list_prev, segment) = (0, 0, NONE, NONE, NONE, 0);
        let (place, state) = (Place { bin: 0, seen: 0 }, State::Vacant);
        self.table.push(Block { offset, len, before, after, list_prev, list_next, place, segment, state });
    }

    /// Takes a block out of the address order; its granules belong to a neighbour now.
    #[inline(always)]
    pub(crate) fn remove(&mut self, index: u32) {
        let table = self.table.as_mut_slice();
        let block = &mut table[index as usize];
        let (before, after) = (block.before, block.after);
        block.state = State::Vacant;
        block.list_next = self.vacant;
        self.vacant = index;
        if let Some(block) = table.get_mut(before as usize) {
            block.after = after;
        }
        if let Some(block) = table.get_mut(after as usize) {
            block.before = before;
        }
    }

    /// Cuts `index` so that it keeps its first `len` granules; the rest becomes a new block.
    #[inline]
    pub(crate) fn split(&mut self, index: u32, len: u32, rest: State) -> u32 {
        let block = self.get_mut(index);
        let (offset, whole, after, segment) = (block.offset, block.len, block.after, block.segment);
        block.len = len;
        self.insert((offset + len, whole - len), (segment, rest), index, after)
    }

    /// Puts a block at the head of its bin.
    #[inline(always)]
    pub(crate) fn link(&mut self, bins: &mut Bins, index: u32) {
        let bin = bin_of(self.get(index).len);
        link(&mut self.table, bins, bin, index);
    }

    /// Takes a block out of the bin it was linked into.
    #[inline(always)]
    pub(crate) fn unlink(&mut self, bins: &mut Bins, index: u32) {
        unlink(&mut self.table, bins, index);
    }

    /// Gives a linked block other bounds, and moves it to its bin if that is another now.
    #[inline(always)]
    pub(crate) fn resize(&mut self, bins: &mut Bins, index: u32, (offset, len): (u32, u32)) {
        let table = self.table.as_mut_slice();
        let block = &mut table[index as usize];
        (block.offset, block.len) = (offset, len);
        let (was, now) = (block.place.bin, bin_of(len));
        if usize::from(was) != now {
            unlink(table, bins, index);
            link(table, bins, now, index);
        }
    }

    /// Counts that a linked block was seen where it is. The count starts anew when the block moves to another
    /// bin.
    pub(crate) fn age(&mut self, index: u32) {
        let seen = &mut self.get_mut(index).place.seen;
        *seen = seen.saturating_add(1);
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

/// Puts a block at the head of a bin.
#[inline(always)]
fn link(table: &mut [Block], bins: &mut Bins, bin: usize, index: u32) {
    let head = bins.push(bin, index);
    let block = &mut table[index as usize];
    block.place = Place { bin: bin as u16, seen: 0 };
    block.list_prev = NONE;
    block.list_next = head;
    if let Some(block) = table.get_mut(head as usize) {
        block.list_prev = index;
    }
}

/// Takes a block out of its bin.
#[inline(always)]
fn unlink(table: &mut [Block], bins: &mut Bins, index: u32) {
    let Block { list_prev, list_next, place: Place { bin, .. }, .. } = table[index as usize];
    if let Some(block) = table.get_mut(list_next as usize) {
        block.list_prev = list_prev;
    }
    match table.get_mut(list_prev as usize) {
        Some(block) => block.list_next = list_next,
        None => bins.pop(bin.into(), list_next),
    }
}

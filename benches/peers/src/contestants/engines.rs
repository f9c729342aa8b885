//! Allocators of offsets in one range, each with its default settings.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use offset_allocator::{Allocation, Allocator};
use range_alloc::RangeAllocator;
use vk_mem::{
    VirtualAllocation, VirtualAllocationCreateFlags, VirtualAllocationCreateInfo, VirtualBlock,
    VirtualBlockCreateFlags, VirtualBlockCreateInfo,
};

use super::ALIGNMENT;
use super::heaps::Engine;

/// Converts bytes to units of the alignment, for engines that have no alignment of their own.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(ALIGNMENT)).expect("heaps are shorter than a tebibyte")
}

pub(crate) struct OffsetEngine(Allocator);

impl Engine for OffsetEngine {
    type Token = Allocation;

    fn new(bytes: u64) -> Self {
        Self(Allocator::new(units(bytes)))
    }

    fn room_for(bytes: u64) -> u64 {
        // The search rounds requests up and free blocks down, to eighths of a power of two.
        let eighth = (bytes.next_power_of_two() / 16).max(ALIGNMENT);
        bytes.next_multiple_of(eighth)
    }

    fn allocate(&mut self, bytes: u64) -> Option<Allocation> {
        self.0.allocate(units(bytes))
    }

    fn free(&mut self, token: Allocation) {
        self.0.free(token);
    }
}

pub(crate) struct RangeEngine(RangeAllocator<u32>);

impl Engine for RangeEngine {
    type Token = Range<u32>;

    fn new(bytes: u64) -> Self {
        Self(RangeAllocator::new(0..units(bytes)))
    }

    fn allocate(&mut self, bytes: u64) -> Option<Range<u32>> {
        self.0.allocate_range(units(bytes)).ok()
    }

    fn free(&mut self, token: Range<u32>) {
        self.0.free_range(token);
    }
}

pub(crate) struct VirtualBlockEngine(VirtualBlock);

// SAFETY: a virtual block is plain memory that belongs to no thread. VMA only requires that calls do not
// overlap, and `&mut` ensures that.
unsafe impl Send for VirtualBlockEngine {}

impl Engine for VirtualBlockEngine {
    type Token = VirtualAllocation;

    fn new(bytes: u64) -> Self {
        let flags = VirtualBlockCreateFlags::empty();
        let info = VirtualBlockCreateInfo { size: bytes, flags, allocation_callbacks: None };
        Self(VirtualBlock::new(info).expect("a virtual block takes only host memory"))
    }

    fn allocate(&mut self, bytes: u64) -> Option<VirtualAllocation> {
        let flags = VirtualAllocationCreateFlags::empty();
        let info = VirtualAllocationCreateInfo { size: bytes, alignment: ALIGNMENT, user_data: 0, flags };
        // SAFETY: the description is complete, and the allocation is freed in the block it came from.
        unsafe { self.0.allocate(info) }.ok().map(|(allocation, _)| allocation)
    }

    fn free(&mut self, mut token: VirtualAllocation) {
        // SAFETY: the token came from this block and is given back once.
        unsafe { self.0.free(&mut token) };
    }
}

impl Drop for VirtualBlockEngine {
    fn drop(&mut self) {
        // SAFETY: no allocation of the block is used after the block is dropped.
        unsafe { self.0.clear() };
    }
}

/// Textbook best fit: two ordered trees hold the free blocks, by length and by place.
pub(crate) struct BestFit {
    by_length: BTreeSet<(u64, u64)>,
    by_place: BTreeMap<u64, u64>,
    /// The end of the highest allocation so far.
    reach: u64,
}

impl BestFit {
    pub(crate) fn reach(&self) -> u64 {
        self.reach
    }

    fn insert(&mut self, offset: u64, len: u64) {
        self.by_length.insert((len, offset));
        self.by_place.insert(offset, len);
    }

    fn remove(&mut self, offset: u64, len: u64) {
        self.by_length.remove(&(len, offset));
        self.by_place.remove(&offset);
    }
}

impl Engine for BestFit {
    type Token = Range<u64>;

    fn new(bytes: u64) -> Self {
        let mut this = Self { by_length: BTreeSet::new(), by_place: BTreeMap::new(), reach: 0 };
        this.insert(0, bytes);
        this
    }

    fn allocate(&mut self, bytes: u64) -> Option<Range<u64>> {
        let bytes = bytes.next_multiple_of(ALIGNMENT);
        let &(len, offset) = self.by_length.range((bytes, 0)..).next()?;
        self.remove(offset, len);
        let end = offset + bytes;
        if len > bytes {
            self.insert(end, len - bytes);
        }
        self.reach = self.reach.max(end);
        Some(offset..end)
    }

    fn free(&mut self, Range { mut start, mut end }: Range<u64>) {
        if let Some((&before, &len)) = self.by_place.range(..start).next_back()
            && before + len == start
        {
            self.remove(before, len);
            start = before;
        }
        if let Some(&len) = self.by_place.get(&end) {
            self.remove(end, len);
            end += len;
        }
        self.insert(start, end - start);
    }
}

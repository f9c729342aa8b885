//! One heap of the pool: memory from the device, the books over it, and the lock around both.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use super::ledger::Ledger;
use super::lock;
use super::range::Range;
use crate::device::Memory;
use crate::heap::Space;

/// A place for a heap. Places exist for the whole life of the pool; heaps come and go in them.
#[derive(Debug)]
pub(crate) struct Slot {
    index: u16,
    /// log2 of the bytes in a granule.
    shift: u32,
    hint: AtomicU64,
    ledger: Ledger,
    body: Mutex<Option<Heap>>,
}

/// What a slot holds.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) space: Space,
    pub(crate) memory: Arc<dyn Memory>,
    pub(crate) elastic: bool,
    address: u64,
}

/// What may be known of a heap without its lock; right at some moment of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint {
    /// Free granules.
    pub(crate) free: u32,
    /// At least the length of the longest free block.
    pub(crate) longest: u32,
}

impl Slot {
    pub(crate) fn new(index: u16, shift: u32) -> Self {
        Self { index, shift, hint: AtomicU64::new(0), ledger: Ledger::default(), body: Mutex::default() }
    }

    #[inline]
    pub(crate) fn hint(&self) -> Hint {
        let packed = self.hint.load(Relaxed);
        Hint { free: (packed >> 32) as u32, longest: packed as u32 }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_> {
        Locked { slot: self, heap: lock(&self.body) }
    }

    /// Puts a heap of `space` over `memory` into an empty place.
    pub(crate) fn install(&self, space: Space, memory: Arc<dyn Memory>, elastic: bool) {
        let address = memory.address();
        *self.lock().heap = Some(Heap { space, memory, elastic, address });
    }

    pub(crate) fn metadata_bytes(&self) -> usize {
        self.ledger.metadata_bytes() + lock(&self.body).as_ref().map_or(0, |heap| heap.space.metadata_bytes())
    }
}

/// A slot under its lock. On release the hint is brought up to date.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    slot: &'a Slot,
    heap: MutexGuard<'a, Option<Heap>>,
}

impl Locked<'_> {
    pub(crate) fn heap(&self) -> Option<&Heap> {
        self.heap.as_ref()
    }

    pub(crate) fn heap_mut(&mut self) -> Option<&mut Heap> {
        self.heap.as_mut()
    }

    /// Takes the heap out of its place.
    pub(crate) fn take(&mut self) -> Option<Heap> {
        self.heap.take()
    }

    /// Takes the heap out of its place if nobody holds a range of it.
    pub(crate) fn remove_if_unused(&mut self) -> Option<Heap> {
        self.heap.take_if(|heap| heap.space.used_blocks() == 0)
    }

    /// Cuts up to `count` neighbouring ranges of `len` granules, and at least one.
    #[inline]
    pub(crate) fn allocate(
        &mut self,
        class: u16,
        len: u32,
        align: u32,
        count: u32,
        mut keep: impl FnMut(Range),
    ) -> Option<Range> {
        let Some(Heap { space, address, .. }) = &mut *self.heap else { return None };
        let (mut placed, mut count) = (None, count);
        if count > 1 {
            placed = space.allocate(len * count, align);
        }
        if placed.is_none() {
            count = 1;
            placed = space.allocate(len, align);
        }
        let first = placed?;
        let range = |block, offset: u32| {
            let address = *address + (u64::from(offset) << self.slot.shift);
            Range::new(self.slot.ledger.tenant(block), address, len, class, self.slot.index)
        };
        let mut block = first.block;
        for _ in 1..count {
            let rest = space.split_used(block, len);
            block = rest.block;
            keep(range(rest.block, rest.offset));
        }
        Some(range(first.block, first.offset))
    }

    /// Gives back a range of this heap.
    #[inline]
    pub(crate) fn release(&mut self, range: Range) {
        debug_assert_eq!(range.heap, self.slot.index);
        if let Some(heap) = &mut *self.heap {
            heap.space.release(range.tenant().block());
        }
    }

    /// The record of a block that is handed out.
    pub(crate) fn tenant(&self, block: u32) -> &super::ledger::Tenant {
        self.slot.ledger.tenant(block)
    }
}

impl Drop for Locked<'_> {
    #[inline]
    fn drop(&mut self) {
        let hint = match &*self.heap {
            Some(Heap { space, .. }) => {
                u64::from(space.free_len()) << 32 | u64::from(space.longest_at_most())
            }
            None => 0,
        };
        self.slot.hint.store(hint, Relaxed);
    }
}

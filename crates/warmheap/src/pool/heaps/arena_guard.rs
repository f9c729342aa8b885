//! What an arena's lock guards, and the work on it: its heaps come and go, spans are cut and given back.
//!
//! The module owns the heaps and their metadata. It never calls a device.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::device::Memory;
use crate::offsets::segments::SegmentLevels;
use crate::offsets::{Placed, RangeAllocator, segments};
use crate::pool::accounting::device_calls::Held;
use crate::pool::heaps::records::{AllocRecord, RecordTable};
use crate::pool::heaps::span::{GROWING, Span, SpanHead, SpanRequest};

/// What the arena's lock guards.
#[derive(Debug)]
pub(crate) struct Body {
    pub(super) space: RangeAllocator,
    /// The heaps, by the number of their segment.
    heaps: Vec<Option<Heap>>,
    /// The address of each heap.
    origins: Vec<u64>,
    /// Records by block number, for whichever heap the block is in. They outlive the heaps.
    records: RecordTable,
    /// A bound on the longest heap without used blocks. A heap that was unused once may be in use again.
    pub(super) spare: u32,
}

/// A heap: memory from the device.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) memory: Arc<dyn Memory>,
    pub(crate) elastic: bool,
    address: u64,
    /// The bytes that the device gave, or reserved if the heap grows in place.
    size: u64,
    /// The granules.
    pub(crate) len: u32,
}

impl Heap {
    /// A heap of `len` granules.
    pub(crate) fn new(len: u32, held: Held, elastic: bool) -> Self {
        let Held { memory, address, size } = held;
        Self { memory, elastic, address, size, len }
    }

    /// The bytes held from the device, for a heap that does not grow, or one without memory so far.
    pub(crate) fn held(&self) -> u64 {
        if self.elastic { 0 } else { self.size }
    }
}

impl Body {
    pub(super) fn new() -> Self {
        let (heaps, origins) = (Vec::new(), Vec::new());
        Self { space: RangeAllocator::new(), heaps, origins, records: RecordTable::default(), spare: 0 }
    }

    #[inline(always)]
    fn head(&mut self, placed: Placed, shift: u32) -> SpanHead {
        let address = self.origins[usize::from(placed.segment)] + (u64::from(placed.offset) << shift);
        SpanHead::new(self.records.record(placed.block), address)
    }
}

/// Access to an arena that this thread has taken.
#[derive(Debug)]
pub(crate) struct ArenaGuard<'a> {
    index: u16,
    shift: u32,
    body: &'a mut Body,
}

impl<'a> ArenaGuard<'a> {
    #[inline(always)]
    pub(super) fn new(index: u16, shift: u32, body: &'a mut Body) -> Self {
        Self { index, shift, body }
    }

    #[inline]
    pub(crate) fn space(&self) -> &RangeAllocator {
        &self.body.space
    }

    #[inline]
    pub(crate) fn space_mut(&mut self) -> &mut RangeAllocator {
        &mut self.body.space
    }

    /// The heaps, each with the number of its segment.
    pub(crate) fn heaps(&self) -> impl Iterator<Item = (u16, &Heap)> {
        (0..).zip(&self.body.heaps).filter_map(|(segment, heap)| Some((segment, heap.as_ref()?)))
    }

    /// The heaps, each with what is free and used in it. Looks at every block.
    pub(crate) fn heap_levels(&self) -> impl Iterator<Item = (u16, SegmentLevels)> {
        let levels = segments::levels(&self.body.space);
        self.heaps().filter_map(move |(segment, _)| Some((segment, *levels.get(usize::from(segment))?)))
    }

    /// The only heap, in an arena of a growing heap.
    pub(crate) fn memory(&self) -> Option<Arc<dyn Memory>> {
        let (_, heap) = self.heaps().next()?;
        Some(Arc::clone(&heap.memory))
    }

    /// The memory that a block lies in, and its address.
    pub(crate) fn place(&self, block: u32) -> Option<(Arc<dyn Memory>, u64)> {
        let heap = self.body.heaps.get(usize::from(segments::of_block(&self.body.space, block)))?.as_ref()?;
        Some((Arc::clone(&heap.memory), heap.address))
    }

    /// Adds a heap. Returns it if the arena has too many.
    pub(super) fn install(&mut self, heap: Heap) -> Result<(), Heap> {
        let Body { space, heaps, origins, spare, .. } = &mut *self.body;
        let Some((segment, block)) = segments::add(space, heap.len, (heap.address >> self.shift) as u32)
        else {
            return Err(heap);
        };
        if !heap.elastic {
            space.commit(block, 0, heap.len);
            *spare = heap.len.max(*spare);
        }
        let segment = usize::from(segment);
        if segment == heaps.len() {
            heaps.push(None);
            origins.push(0);
        }
        origins[segment] = heap.address;
        heaps[segment] = Some(heap);
        Ok(())
    }

    /// Takes a heap without used blocks out of the arena, if `wanted` accepts it.
    pub(crate) fn remove_unused(&mut self, wanted: impl Fn(&Heap) -> bool) -> Option<Heap> {
        let Body { space, heaps, .. } = &mut *self.body;
        let is_wanted =
            |segment: u16| heaps.get(usize::from(segment)).and_then(Option::as_ref).is_some_and(&wanted);
        let (block, segment) = segments::unused(space).find(|(_, segment)| is_wanted(*segment))?;
        self.remove(block, segment)
    }

    /// Takes out heaps without used blocks of `len` granules or more: half of those that there are. An arena
    /// that threads reside in keeps one heap.
    pub(crate) fn take_spare(&mut self, len: u32, has_residents: bool) -> Vec<Heap> {
        let unused: Vec<_> = segments::unused_from(&self.body.space, len).collect();
        let keeps_none = has_residents && unused.len() == self.heaps().count();
        let count = if keeps_none { unused.len() / 2 } else { unused.len().div_ceil(2) };
        // One that stays for the residents is not offered again until another is unused, too.
        if count == unused.len() || count == 0 {
            self.body.spare = self.body.spare.min(len - 1);
        }
        unused.into_iter().take(count).filter_map(|(block, segment)| self.remove(block, segment)).collect()
    }

    /// Takes a heap out of the arena that was seen unused `times` times; see [`segments::aged`].
    pub(crate) fn remove_aged(&mut self, times: u16) -> Option<Heap> {
        let (block, segment) = segments::aged(&self.body.space, times)?;
        self.remove(block, segment)
    }

    fn remove(&mut self, block: u32, segment: u16) -> Option<Heap> {
        let heap = self.body.heaps.get_mut(usize::from(segment))?.take()?;
        segments::remove(&mut self.body.space, block);
        Some(heap)
    }

    /// Takes out all heaps, whatever is in use in them. Returns each with the bytes held from the device.
    pub(crate) fn remove_all(&mut self) -> Vec<(Heap, u64)> {
        let committed = u64::from(self.body.space.committed()) << self.shift;
        let heaps = std::mem::take(&mut self.body.heaps);
        self.body.space = RangeAllocator::new();
        self.body.origins.clear();
        let held = |heap: &Heap| if heap.elastic { committed } else { heap.size };
        heaps.into_iter().flatten().map(|heap| (held(&heap), heap)).map(|(held, heap)| (heap, held)).collect()
    }

    /// Cuts `len` granules for a span at any address.
    #[inline(always)]
    pub(crate) fn begin(&mut self, len: u32) -> Option<SpanHead> {
        let placed = self.body.space.allocate_anywhere(len)?;
        Some(self.body.head(placed, self.shift))
    }

    /// Cuts one span.
    #[inline(always)]
    pub(crate) fn allocate(&mut self, want: SpanRequest) -> Option<Span> {
        let placed = self.body.space.allocate(want.len, want.align)?;
        Some(self.span(placed, want))
    }

    /// As [`ArenaGuard::allocate`], but looks at every free block that may fit.
    pub(crate) fn allocate_thoroughly(&mut self, want: SpanRequest) -> Option<Span> {
        let placed = segments::allocate_thoroughly(&mut self.body.space, want.len, want.align)?;
        Some(self.span(placed, want))
    }

    /// As [`ArenaGuard::allocate`], low in one heap, and below `address`.
    pub(crate) fn allocate_low(&mut self, segment: u16, want: SpanRequest, address: u64) -> Option<Span> {
        let origin = *self.body.origins.get(usize::from(segment))?;
        let limit = u32::try_from(address.checked_sub(origin)? >> self.shift).unwrap_or(u32::MAX);
        let placed = segments::allocate_low(&mut self.body.space, segment, want.len, want.align, limit)?;
        Some(self.span(placed, want))
    }

    /// Cuts up to `count` neighbouring spans, and at least one, which it returns. The others go to `keep`.
    pub(crate) fn allocate_some(
        &mut self,
        want: SpanRequest,
        count: u32,
        mut keep: impl FnMut(Span),
    ) -> Option<Span> {
        let Some(first) = self.body.space.allocate(want.len * count, want.align) else {
            return self.allocate(want);
        };
        let mut block = first.block;
        for _ in 1..count {
            let placed = self.body.space.split_used(block, want.len);
            block = placed.block;
            keep(self.span(placed, want));
        }
        Some(self.span(first, want))
    }

    /// The span of a block that the range allocator has just handed out.
    #[inline(always)]
    pub(crate) fn span(&mut self, placed: Placed, want: SpanRequest) -> Span {
        Span::new(self.body.head(placed, self.shift), want.len, want.class, self.index)
    }

    /// Gives back a span of this arena.
    #[inline(always)]
    pub(crate) fn release(&mut self, span: Span) {
        debug_assert_eq!(span.arena(), self.index);
        let block = span.record().block();
        if span.class() == GROWING {
            self.body.space.release_tail(block);
        }
        self.join_shared(block);
    }

    /// Gives back the block of a span of this arena that does not grow.
    #[inline(always)]
    pub(crate) fn join(&mut self, block: u32) {
        self.body.space.release(block);
    }

    /// As [`ArenaGuard::join`], in an arena whose heaps may move to another once they are unused.
    #[inline(always)]
    pub(crate) fn join_shared(&mut self, block: u32) {
        let free = self.body.space.release_into(block);
        if let Some(len) = segments::whole_len(&self.body.space, free) {
            self.body.spare = len.max(self.body.spare);
        }
    }

    /// The record of every block that is handed out.
    pub(crate) fn records(&self) -> impl Iterator<Item = &AllocRecord> {
        self.body.space.used().filter_map(|placed| self.body.records.get(placed.block))
    }

    /// Bytes of metadata.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.body.space.metadata_bytes() + self.body.records.metadata_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::sim::SimDevice;
    use crate::device::{Device, HeapRequest};

    fn heap(len: u32) -> Heap {
        let memory = SimDevice::new().create_heap(&HeapRequest::fixed(u64::from(len) << 8, "")).unwrap();
        Heap::new(len, Held::new(memory), false)
    }

    #[test]
    fn half_of_the_unused_heaps_leave_and_the_others_are_offered_again() {
        let mut body = Body::new();
        let mut open = ArenaGuard::new(0, 8, &mut body);
        for _ in 0..8 {
            open.install(heap(1 << 16)).unwrap();
        }
        let takes: Vec<usize> = (0..4).map(|_| open.take_spare(1, true).len()).collect();
        assert_eq!(takes, [4, 2, 1, 0]);
        assert_eq!((open.heaps().count(), open.body.spare), (1, 0));
        // Where no thread resides, the last one leaves, too.
        open.install(heap(1 << 16)).unwrap();
        assert_eq!((open.take_spare(1 << 17, false).len(), open.body.spare), (0, 1 << 16));
        assert_eq!(open.take_spare(1, false).len(), 1);
        assert_eq!(open.take_spare(1, false).len(), 1);
        assert_eq!((open.heaps().count(), open.body.spare), (0, 0));
    }
}

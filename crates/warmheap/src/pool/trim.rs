//! Giving memory back to the device: whole free pages where heaps grow in place, unused heaps elsewhere.
//!
//! Owns what may go and in which order; when it goes is decided by those who ask. Whoever calls
//! climbs (holds the lock of growth), so voids and places change under one hand at a time; no heap
//! is locked while the device is called. What the settings promise stays.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::heap::Slot;
use super::lock;
use super::shared::Shared;
use crate::config::{HeapSizing, MAX_HEAPS};
use crate::device::DeviceError;
use crate::offsets::PageRun;

impl Shared {
    /// Gives back what no buffer uses and the settings do not promise, until at most `target` bytes
    /// are held. Answers the bytes given back.
    pub(crate) fn trim(&self, target: u64) -> Result<u64, DeviceError> {
        self.poll_queues();
        let _climbing = self.climb_alone("Pool::trim")?;
        let mut given = self.give_back(target)?;
        // Threads are disturbed only if what lies in heaps is not enough.
        if self.driver.reserved() > target && self.flush_caches() {
            given += self.give_back(target)?;
        }
        Ok(given)
    }

    /// Gives back free pages or unused heaps, beyond what the settings promise, while more than
    /// `target` bytes are held. Returns the bytes given back. The caller climbs.
    pub(crate) fn give_back(&self, target: u64) -> Result<u64, DeviceError> {
        if !self.is_elastic() {
            return Ok(self.drop_unused_heaps(target));
        }
        let excess = self.driver.reserved().saturating_sub(target);
        self.headroom.reset();
        let want = u32::try_from(excess.div_ceil(1 << self.shift)).unwrap_or(u32::MAX);
        let taken = self.take_from_holes(want, self.page(), None)?;
        Ok(self.bytes(taken.into()))
    }

    /// Destroys heaps that nobody holds a range of, those at rest first, while more than `target`
    /// bytes are held and more heaps than were promised. Returns the bytes given back. The caller climbs.
    pub(crate) fn drop_unused_heaps(&self, target: u64) -> u64 {
        let mut given = 0;
        let excessive = || self.driver.reserved() > target && self.heap_count() > self.promised();
        while excessive() {
            let Some(heap) = lock(&self.resting).pop() else { break };
            given += self.destroy(heap);
        }
        for heap in 0..self.heaps.slots().len() as u16 {
            if excessive() {
                given += self.drop_heap(heap);
            }
        }
        given
    }

    /// Whether heaps grow and shrink where they are.
    pub(crate) fn is_elastic(&self) -> bool {
        self.config.heaps == HeapSizing::Elastic && self.driver.limits().elastic
    }

    /// How many heaps the settings promise to keep.
    pub(crate) fn promised(&self) -> usize {
        if self.config.heaps == HeapSizing::Fixed { self.config.num_heaps } else { 0 }
    }

    /// Decommits up to `want` granules of whole free pages, from the longest holes of each heap but
    /// those beside the void that is `growing` (its heap and block). Returns how much that was.
    /// Heaps that no thread works on come first, then those of the calling one: taking pages from
    /// another's stops that thread for a moment.
    pub(crate) fn take_from_holes(
        &self,
        want: u32,
        page: u32,
        growing: Option<(u16, u32)>,
    ) -> Result<u32, DeviceError> {
        let home = self.home();
        // Read once: threads move these figures while heaps are put in order by them.
        let rank = |(index, slot): (u16, &Slot)| {
            let free = Some(slot.levels().free).filter(|free| *free >= page)?;
            Some((self.is_others(index, home), slot.is_home(), Reverse(free), index))
        };
        let mut heaps: ArrayVec<_, MAX_HEAPS> = (0..).zip(self.heaps.slots()).filter_map(rank).collect();
        heaps.sort_unstable();
        let mut taken = 0;
        for (.., index) in heaps {
            if taken >= want {
                break;
            }
            let growing = growing.filter(|(home, _)| *home == index).map(|(_, void)| void);
            taken += self.take_from_heap(index, want - taken, page, growing)?;
        }
        Ok(taken)
    }

    /// As [`Shared::take_from_holes`], from one heap.
    pub(crate) fn take_from_heap(
        &self,
        index: u16,
        want: u32,
        page: u32,
        growing: Option<u32>,
    ) -> Result<u32, DeviceError> {
        let mut taken = 0;
        while taken < want {
            // Booked first, so that nobody is given the range while the device takes it back.
            let booked = self.open(index, |open| {
                let heap = open.heap_mut().filter(|heap| heap.elastic)?;
                let PageRun { block, offset, len } = heap.space.plan_trim(want - taken, page, growing)?;
                let void = heap.space.decommit(block, offset, len);
                Some((PageRun { block: void, offset, len }, Arc::clone(&heap.memory)))
            });
            let Some((PageRun { block, offset, len }, memory)) = booked else { break };
            let done = self.driver.decommit(&*memory, self.bytes(offset.into()), self.bytes(len.into()));
            if let Err(error) = done {
                self.open(index, |open| {
                    if let Some(heap) = open.heap_mut() {
                        heap.space.commit(block, offset, len);
                    }
                });
                return Err(error);
            }
            taken += len;
        }
        Ok(taken)
    }
}

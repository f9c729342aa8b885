//! Heaps that grow, are added and are given back.
//!
//! How much at a time, and where: that is decided here. When is the ladder's affair; it lets one
//! thread at a time in, the one that holds the lock on growth. The device is never called under a
//! heap's lock.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::account::UpTo;
use super::heap::{Heap, Open, Slot};
use super::heaps::Want;
use super::lock;
use super::notes::Note;
use super::shared::Shared;
use crate::config::{HeapSizing, MAX_HEAPS, MIB, PoolConfig};
use crate::device::{DeviceError, HeapKind, HeapRequest};
use crate::offsets::{PageRun, RangeAllocator};

/// Elastic heaps grow by at least one part in this many of what is held.
const STEP: u64 = 512;
/// A heap of the pool's own choosing is at least one part in this many of what is held.
const HEAP_SHARE: u64 = 24;
/// With fewer heaps than this, places are not scarce.
const ROOMY: usize = MAX_HEAPS / 8 * 5;
const SMALLEST_HEAP: u64 = 32 * MIB;

impl Shared {
    /// Adds memory for one range; `false` if the settings leave no way.
    pub(crate) fn grow(&self, want: Want, up_to: UpTo) -> Result<bool, DeviceError> {
        let bytes = self.bytes(u64::from(want.len) + u64::from(want.align) - 1);
        match self.config.heaps {
            HeapSizing::Elastic if self.driver.limits().elastic => self.grow_in_place(want, up_to),
            HeapSizing::Elastic => self.add_chosen_heap(bytes, up_to),
            HeapSizing::Fixed if bytes <= self.config.heap_size && self.may_add_heap() => {
                self.add_heap(self.config.heap_size, up_to)
            }
            HeapSizing::Fixed => Ok(false),
        }
    }

    /// Heaps that were promised and given up since may be made again, whatever the settings.
    fn may_add_heap(&self) -> bool {
        let PoolConfig { dynamic_growth, num_heaps, max_heaps, .. } = self.config;
        self.heap_count() < if dynamic_growth { max_heaps.max(num_heaps) } else { num_heaps }
    }

    /// Adds a heap if utilisation has passed `growth_trigger`, before one is missed.
    pub(crate) fn grow_ahead(&self) {
        let len = self.granules(self.config.heap_size).unwrap_or(u32::MAX);
        let within = |used: u64, all: u64| used as f64 <= self.config.growth_trigger * all as f64;
        // Hints first: they take no lock. They count what threads hold back as used.
        let at_rest = || lock(&self.resting).len() as u64;
        let heaps = self.heaps.slots().len() as u64;
        let all = heaps * u64::from(len);
        if within(all.saturating_sub(self.heaps.free() + at_rest() * u64::from(len)), all)
            || self.not_ahead.lately()
        {
            return;
        }
        // Whoever climbs makes room anyway.
        let Some(_climbing) = self.growth.try_lock() else { return };
        let grown = !self.is_past(self.config.growth_trigger)
            || (self.may_add_heap() && self.add_heap(self.config.heap_size, UpTo::Soft) == Ok(true));
        if !grown {
            // Looking costs locks: not again before a while.
            self.not_ahead.begins();
        }
    }

    /// Creates a heap of `size` bytes; `false` if there is no place for it.
    pub(crate) fn add_heap(&self, size: u64, up_to: UpTo) -> Result<bool, DeviceError> {
        let Some(len) = self.granules(size) else { return Ok(false) };
        if self.heap_count() >= self.heaps.places() {
            return Ok(false);
        }
        // Settings may name any number of bytes; devices deal in whole granules.
        let size = self.bytes(len.into());
        let label = format!("warmheap {}", self.heap_count());
        let held = self.driver.create_heap(&HeapRequest { size, kind: HeapKind::Fixed, label }, up_to)?;
        let mut space = RangeAllocator::new(len);
        space.commit(0, 0, len);
        Ok(self.install(Heap::new(space, held, false)).is_some())
    }

    /// Puts a heap that is in no slot into one; destroys it, and answers `None`, if there is none.
    pub(crate) fn install(&self, heap: Heap) -> Option<u16> {
        let place = self.heaps.vacant();
        match place {
            Some(place) => self.heaps.install(place, heap),
            None => _ = self.destroy(heap),
        }
        place
    }

    /// Creates a heap as large as the pool's size suggests, at least `bytes`.
    fn add_chosen_heap(&self, bytes: u64, up_to: UpTo) -> Result<bool, DeviceError> {
        let limits = self.driver.limits();
        self.drop_unused_heaps(0);
        // The last places must last: the fuller the table, the larger the heap.
        let heaps = self.heap_count().min(MAX_HEAPS - 1);
        let share = HEAP_SHARE.min((MAX_HEAPS - heaps) as u64);
        let wish = (self.driver.reserved() / share).max(SMALLEST_HEAP);
        // A request near that size gets a heap of its own, which wastes nothing.
        let wish = if bytes >= wish / 2 && heaps < ROOMY { bytes } else { wish };
        let round = |size: u64| size.checked_next_multiple_of(limits.granularity);
        let Some(least) = round(bytes).filter(|least| *least <= limits.largest_heap) else {
            return Ok(false);
        };
        let wish =
            round(wish).unwrap_or(least).min(limits.largest_heap / limits.granularity * limits.granularity);
        match self.add_heap(wish.max(least), up_to) {
            Err(_) if wish > least => self.add_heap(least, up_to),
            answer => answer,
        }
    }

    /// Destroys a heap if nobody holds a range of it. Returns the bytes given back.
    pub(crate) fn drop_heap(&self, heap: u16) -> u64 {
        let unused = |open: &mut Open<'_>| open.remove_if(|heap| heap.space.used_blocks() == 0);
        self.heaps.slot(heap).with(unused).map_or(0, |heap| self.destroy(heap))
    }

    /// Gives a heap that is in no slot back to the device. Returns its bytes.
    pub(crate) fn destroy(&self, heap: Heap) -> u64 {
        let held = heap.held(self.shift);
        self.note_end(self.driver.give_back(heap.memory, held));
        held
    }

    /// Notes that the device has memory back, but not as it should.
    pub(crate) fn note_end(&self, ended: Result<(), DeviceError>) {
        if let Err(error) = ended {
            self.notes.add(Note::CouldNotEnd(error));
        }
    }

    /// Commits memory in this thread's heap, next to a hole, so that the hole becomes long enough.
    /// Where too much lies in holes elsewhere, as much is taken out of those.
    fn grow_in_place(&self, want: Want, up_to: UpTo) -> Result<bool, DeviceError> {
        let home = self.home();
        let home = home.map_or(0, |home| home.for_class(want.class));
        let page = self.page();
        let len = want.len.saturating_add(want.align - 1);
        let plan = || self.open(home, |open| open.heap()?.space.plan_growth(len, page));
        let Some(span) = plan() else { return Ok(false) };
        let moved = self.even_out(span, len, page, home)?;
        // Only the thread that climbs changes voids, but holes beside them come and go.
        let Some(mut span) = plan() else { return Ok(false) };
        let planned = self.open(home, |open| {
            let heap = open.heap()?;
            let wide = heap.space.widened(span, moved.unwrap_or_else(|| self.step(page)), page);
            Some((Arc::clone(&heap.memory), wide))
        });
        let Some((memory, wide)) = planned else { return Ok(false) };
        let commit = |span: PageRun| {
            let (offset, len) = (self.bytes(span.offset.into()), self.bytes(span.len.into()));
            self.driver.commit(&*memory, offset, len, up_to)
        };
        let mut committed = commit(wide);
        if committed.is_err() && wide != span {
            committed = commit(span);
        } else {
            span = wide;
        }
        if let Err(error) = committed {
            // At the limit even the little that lies in holes counts.
            let taken = self.take_from_holes(span.len, page, Some((home, span.block)))?;
            return if taken > 0 { Ok(true) } else { Err(error) };
        }
        self.open(home, |open| {
            if let Some(heap) = open.heap_mut() {
                heap.space.commit(span.block, span.offset, span.len);
            }
        });
        Ok(true)
    }

    /// Prepares for the commitment of `span` in `heap`, for `len` granules in use: where too much
    /// would lie in holes then, as much is taken out of them, or a step if that is more. Answers how
    /// much that was, in that case.
    ///
    /// All of the span or nothing: a part of it, committed because a little more is allowed, would
    /// make some hole a little longer and none long enough for the next request like this one.
    pub(crate) fn even_out(
        &self,
        span: PageRun,
        len: u32,
        page: u32,
        heap: u16,
    ) -> Result<Option<u32>, DeviceError> {
        let (committed, used) = self.levels();
        let cached = self.cached();
        let live = used.saturating_sub(cached) + u64::from(len);
        let allowed = self.headroom.allows(live, page, self.heaps.homes() > 1);
        if committed + u64::from(span.len) <= allowed {
            return Ok(None);
        }
        let growing = Some((heap, span.block));
        let mut moved = self.take_from_holes(span.len.max(self.step(page)), page, growing)?;
        let missing = span.len.saturating_sub(moved);
        // Threads get on without their caches, but not as fast.
        if missing > 0 && cached >= missing.into() && self.flush_caches() {
            moved += self.take_from_holes(missing, page, growing)?;
        }
        self.headroom.moved(moved.into());
        Ok(Some(moved))
    }

    /// Granules committed and granules handed out, over all heaps, nobody disturbed.
    fn levels(&self) -> (u64, u64) {
        self.heaps.slots().iter().map(Slot::levels).fold((0, 0), |(committed, used), levels| {
            (committed + u64::from(levels.committed), used + u64::from(levels.used()))
        })
    }

    /// Pages added at once when the pool grows, so that small requests do not call the device each. What
    /// another thread is asking the device for does not count: it may be refused.
    pub(crate) fn step(&self, page: u32) -> u32 {
        let step = (self.driver.reserved() / STEP) >> self.shift;
        u32::try_from(step).unwrap_or(u32::MAX / 2).next_multiple_of(page)
    }
}

//! Making memory available when no heap fits: caches given up, heaps at rest claimed, heaps grown.
//!
//! One thread at a time climbs; the others wait for it and look again. The device is never called
//! under a heap's lock, so frees and hits go on meanwhile.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use super::heap::{Heap, Open};
use super::heaps::Want;
use super::local::Home;
use super::lock;
use super::queue::Timeline;
use super::range::Range;
use super::shared::Shared;
use crate::config::{HeapSizing, MAX_HEAPS, MIB, PoolConfig};
use crate::device::{DeviceError, HeapKind, HeapRequest};
use crate::heap::Space;

/// Elastic heaps may have one part in this many of live bytes in holes before pages are taken out
/// of holes instead of being added.
const SLACK: u64 = 128;
/// Elastic heaps grow by at least one part in this many of what is held.
const STEP: u64 = 512;
/// A heap of the pool's own choosing is at least one part in this many of what is held.
const HEAP_SHARE: u64 = 24;
/// With fewer heaps than this, places are not scarce.
const ROOMY: usize = MAX_HEAPS / 8 * 5;
const SMALLEST_HEAP: u64 = 32 * MIB;

impl Shared {
    /// Climbs the ladder until a range is found or nothing is left to try.
    #[cold]
    pub(crate) fn make_available(&self, want: Want) -> Option<Range> {
        // What has come back from queues since anyone looked is the cheapest memory there is.
        if self.poll_queues()
            && let Some(range) = self.search(want)
        {
            return Some(range);
        }
        let _climbing = lock(&self.growth);
        // Whoever climbed before may have left room for both.
        if let Some(range) = self.search(want) {
            return Some(range);
        }
        if self.flush_caches()
            && let Some(range) = self.search(want)
        {
            return Some(range);
        }
        while self.wake(want) {
            if let Some(range) = self.search(want) {
                return Some(range);
            }
        }
        loop {
            match self.grow(want) {
                Ok(true) => {}
                Ok(false) => return self.search_everywhere(want),
                Err(error) => {
                    tracing::debug!(%error, "the pool could not grow");
                    // What is free in others' heaps may do as it lies; else it may make way.
                    let found = self.search_everywhere(want);
                    if found.is_some() || self.make_way(error).is_err() {
                        return found;
                    }
                }
            }
            if let Some(range) = self.search(want) {
                return Some(range);
            }
        }
    }

    /// Keeps a queue in mind, as long as somebody else does.
    pub(crate) fn watch(&self, timeline: &Arc<Timeline>) {
        let mut timelines = lock(&self.timelines);
        timelines.retain(|known| known.strong_count() > 0);
        timelines.push(Arc::downgrade(timeline));
    }

    /// The queues that are in use.
    pub(crate) fn queues(&self) -> Vec<Arc<Timeline>> {
        lock(&self.timelines).iter().filter_map(Weak::upgrade).collect()
    }

    /// Frees what has completed on any queue; `true` if that was something. A lost queue has
    /// nothing to give, and says so to those who poll it.
    pub(crate) fn poll_queues(&self) -> bool {
        let freed = |queue: &Arc<Timeline>| queue.poll(usize::MAX).unwrap_or(0);
        self.queues().iter().map(freed).sum::<usize>() > 0
    }

    /// Looks in this thread's own heap, or in all if it has none.
    fn search(&self, want: Want) -> Option<Range> {
        let home = self.session(|session| session.local.home);
        let at_home = |home: Home| self.open(home.for_class(want.class), |open| open.allocate(want));
        if let Some(range) = home.and_then(at_home) {
            return Some(range);
        }
        // What is free in others' heaps is not for this thread while its own can grow: it can have
        // the pages without the addresses.
        if home.is_some() { None } else { self.search_everywhere(want) }
    }

    fn search_everywhere(&self, want: Want) -> Option<Range> {
        self.heaps.refresh_hints();
        self.heaps.allocate(want)
    }

    /// Gives every cached range back to its heap. `false` if there was none.
    pub(crate) fn flush_caches(&self) -> bool {
        let mut any = self.depot.held() > 0;
        self.heaps.release(self.depot.empty());
        // This thread's own, without disturbing anyone.
        self.session(|session| {
            let ranges = session.cache.empty(&session.local.held);
            any |= !ranges.is_empty();
            self.release(session, ranges);
            Some(())
        });
        for local in &*lock(&self.locals) {
            if local.held.load(Relaxed) > 0 {
                any = true;
                let ranges = local.cache.take().empty(&local.held);
                self.heaps.release(ranges);
            }
        }
        any
    }

    /// Adds memory for one range; `false` if the settings leave no way.
    fn grow(&self, want: Want) -> Result<bool, DeviceError> {
        let bytes = self.bytes(u64::from(want.len) + u64::from(want.align) - 1);
        match self.config.heaps {
            HeapSizing::Elastic if self.driver.limits().elastic => self.grow_in_place(want),
            HeapSizing::Elastic => self.add_chosen_heap(bytes),
            HeapSizing::Fixed if bytes <= self.config.heap_size && self.may_add_heap() => {
                self.add_heap(self.config.heap_size)
            }
            HeapSizing::Fixed => Ok(false),
        }
    }

    /// Heaps that were promised and given up since may be made again, whatever the settings.
    fn may_add_heap(&self) -> bool {
        let PoolConfig { dynamic_growth, num_heaps, max_heaps, .. } = self.config;
        self.heap_count() < if dynamic_growth { max_heaps.max(num_heaps) } else { num_heaps }
    }

    /// Creates a heap of `size` bytes; `false` if there is no place for it.
    pub(crate) fn add_heap(&self, size: u64) -> Result<bool, DeviceError> {
        let Some(len) = self.granules(size) else { return Ok(false) };
        if self.heap_count() >= self.heaps.places() {
            return Ok(false);
        }
        // Settings may name any number of bytes; devices deal in whole granules.
        let size = self.bytes(len.into());
        let label = format!("warmheap {}", self.heap_count());
        let memory = self.driver.create_heap(&HeapRequest { size, kind: HeapKind::Fixed, label })?;
        let mut space = Space::new(len);
        space.commit(0, 0, len);
        Ok(self.heaps.install(space, memory, false).is_some())
    }

    /// Creates a heap as large as the pool's size suggests, at least `bytes`.
    fn add_chosen_heap(&self, bytes: u64) -> Result<bool, DeviceError> {
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
        match self.add_heap(wish.max(least)) {
            Err(_) if wish > least => self.add_heap(least),
            answer => answer,
        }
    }

    /// Destroys a heap if nobody holds a range of it.
    pub(crate) fn drop_heap(&self, heap: u16) {
        let unused = |open: &mut Open<'_>| open.remove_if(|heap| heap.space.used_blocks() == 0);
        if let Some(heap) = self.heaps.slot(heap).with(unused) {
            self.destroy(heap);
        }
    }

    /// Gives a heap that is in no slot back to the device.
    pub(crate) fn destroy(&self, Heap { space, memory, .. }: Heap) {
        self.driver.destroy_heap(memory, self.bytes(space.committed().into()));
    }

    /// Commits memory in this thread's heap, next to a hole, so that the hole becomes long enough.
    /// Where too much lies in holes elsewhere, as much is taken out of those.
    fn grow_in_place(&self, want: Want) -> Result<bool, DeviceError> {
        let home = self.session(|session| session.local.home);
        let home = home.map_or(0, |home| home.for_class(want.class));
        let page = (self.driver.limits().granularity >> self.shift) as u32;
        let len = want.len.saturating_add(want.align - 1);
        let plan = || self.open(home, |open| open.heap()?.space.plan_growth(len, page));
        let Some(span) = plan() else { return Ok(false) };
        let (committed, used) = self.elastic_granules();
        let live = used + u64::from(len);
        let excess = (committed + u64::from(span.len)).saturating_sub(live + live / SLACK + u64::from(page));
        if excess > 0 {
            let excess = excess.min(span.len.into()) as u32;
            self.take_from_holes(excess, page, Some((home, span.block)))?;
        }
        // Only the thread that climbs changes voids, but holes beside them come and go.
        let Some(mut span) = plan() else { return Ok(false) };
        let memory = self.open(home, |open| {
            let heap = open.heap()?;
            if excess == 0 {
                span = heap.space.widened(span, self.step(page), page);
            }
            Some(Arc::clone(&heap.memory))
        });
        let Some(memory) = memory else { return Ok(false) };
        let committed =
            self.driver.commit(&*memory, self.bytes(span.offset.into()), self.bytes(span.len.into()));
        if let Err(error) = committed {
            // At the device's limit even the little that lies in holes counts.
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

    /// Granules committed and granules handed out, over all elastic heaps.
    fn elastic_granules(&self) -> (u64, u64) {
        let granules = |open: &mut Open<'_>| {
            let heap = open.heap().filter(|heap| heap.elastic);
            heap.map_or((0, 0), |heap| (heap.space.committed().into(), heap.space.used_len().into()))
        };
        let heaps = 0..self.heaps.slots().len() as u16;
        heaps
            .map(|heap| self.open(heap, granules))
            .fold((0, 0), |sum, (committed, used): (u64, u64)| (sum.0 + committed, sum.1 + used))
    }

    /// Pages added at once when the pool grows, so that small requests do not call the device each.
    fn step(&self, page: u32) -> u32 {
        let step = (self.driver.reserved() / STEP) >> self.shift;
        u32::try_from(step).unwrap_or(u32::MAX / 2).next_multiple_of(page)
    }
}

//! Growing heaps: memory is committed in them, moved between them, and given back.
//!
//! The module owns how much memory is committed at a time, and where. It does not decide when: the slow path
//! does, and it lets in only the thread that holds the growth lock. It never calls the device under a heap's
//! lock.
#![forbid(unsafe_code)]

use std::cmp::Reverse;

use arrayvec::ArrayVec;

use crate::config::PoolConfig;
use crate::device::{DeviceError, HeapRequest, Memory};
use crate::offsets::PageRun;
use crate::pool::accounting::account::UpTo;
use crate::pool::accounting::slack::RetainedSlack;
use crate::pool::core::sizing::{Sizing, wants_thread_heaps};
use crate::pool::core::{Core, caches, figures};
use crate::pool::heaps::arena::Arena;
use crate::pool::heaps::arena_guard::Heap;
use crate::pool::heaps::fit_index::MAX_ARENAS;
use crate::pool::heaps::span::{GROWING, Span, SpanRequest};
use crate::pool::heaps::thread_owned::{OwnHeaps, Pair};
use crate::pool::interface::request::Request;
use crate::pool::interface::start_error::StartError;
use crate::pool::sizing::whole_heaps;

/// Growing heaps grow by at least one part in this many of what is held.
const STEP: u64 = 512;

/// The most threads that have heaps of their own.
const OWNERS: usize = MAX_ARENAS / 2;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Growing {
    /// Whether threads have heaps of their own.
    thread_heaps: bool,
    slack: RetainedSlack,
}

impl Growing {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        Self { thread_heaps: wants_thread_heaps(config), slack: RetainedSlack::default() }
    }

    /// Commits a planned page run. If the device or the soft limit refuses, free pages elsewhere make way
    /// first. Only then is the soft limit passed.
    fn commit_or_take(
        &self,
        core: &Core,
        memory: &dyn Memory,
        span: PageRun,
        page: u32,
        heap: u16,
    ) -> Result<(), DeviceError> {
        let (offset, len) = (core.bytes(span.offset.into()), core.bytes(span.len.into()));
        let commit = |up_to| core.driver.commit(memory, offset, len, up_to);
        commit(UpTo::Soft).or_else(|error| {
            let taken = take_from_holes(core, span.len, page, Some((heap, span.block)))?;
            let past_limit = matches!(error, DeviceError::PastLimit { .. });
            if taken > 0 || past_limit { commit(UpTo::Hard) } else { Err(error) }
        })
    }

    /// Prepares for the commitment of `span`, for `len` granules in use. If too much memory would lie in free
    /// blocks then, takes as many pages out of them, or a step if that is more. Returns how much that was;
    /// `None` if the slack budget allows the run. Spares the free blocks beside the decommitted block
    /// `growing`, if the run is to join them.
    ///
    /// The run is all new or all migrated. A part of it, committed because a little more is allowed, would
    /// lengthen some free block and make none long enough for the next request like this one.
    fn even_out(
        &self,
        core: &Core,
        span: PageRun,
        len: u32,
        page: u32,
        growing: Option<(u16, u32)>,
    ) -> Result<Option<u32>, DeviceError> {
        let (committed, used) = figures::levels(core);
        let cached = caches::cached(core);
        let live = used.saturating_sub(cached) + u64::from(len);
        let allowed = self.slack.allows(live, page, core.heaps.owners() > 1);
        if committed + u64::from(span.len) <= allowed {
            return Ok(None);
        }
        let mut moved = take_from_holes(core, span.len.max(step(core, page)), page, growing)?;
        let missing = span.len.saturating_sub(moved);
        // Threads work without their caches, but more slowly.
        if missing > 0 && cached >= missing.into() && caches::flush_caches(core) {
            moved += take_from_holes(core, missing, page, growing)?;
        }
        self.slack.moved(moved.into());
        Ok(Some(moved))
    }
}

impl Sizing for Growing {
    /// One heap for all threads, or two for each thread.
    fn arenas(&self) -> usize {
        if self.thread_heaps { 2 * OWNERS } else { 1 }
    }

    fn most_heaps(&self) -> usize {
        self.arenas()
    }

    fn open(&self, core: &Core) -> Result<(), StartError> {
        // One heap for all threads, or the first thread's two.
        if self.thread_heaps { reserve_pair(core) } else { reserve_elastic(core) }.map(drop)
    }

    /// Commits memory in this thread's heap, next to a free block, so that the block becomes long enough. If
    /// too much lies in free blocks elsewhere, takes as much out of those.
    fn grow(&self, core: &Core, want: SpanRequest, up_to: UpTo) -> Result<bool, DeviceError> {
        let arena = core.own_arenas().map_or(0, |own| own.for_class(want.class));
        let page = core.page();
        let len = want.len.saturating_add(want.align - 1);
        let plan = || core.open(arena, |open| open.space().plan_growth(len, page));
        let Some(span) = plan() else { return Ok(false) };
        let moved = self.even_out(core, span, len, page, Some((arena, span.block)))?;
        // Only the thread that holds the growth lock changes decommitted blocks, but free blocks beside them
        // come and go.
        let Some(mut span) = plan() else { return Ok(false) };
        let planned = core.open(arena, |open| {
            let wide = open.space().widened(span, moved.unwrap_or_else(|| step(core, page)), page);
            Some((open.memory()?, wide))
        });
        let Some((memory, wide)) = planned else { return Ok(false) };
        let commit = |span: PageRun| {
            let (offset, len) = (core.bytes(span.offset.into()), core.bytes(span.len.into()));
            core.driver.commit(&*memory, offset, len, up_to)
        };
        let mut committed = commit(wide);
        if committed.is_err() && wide != span {
            committed = commit(span);
        } else {
            span = wide;
        }
        if let Err(error) = committed {
            // At the limit, even the little memory that lies in free blocks counts.
            let taken = take_from_holes(core, span.len, page, Some((arena, span.block)))?;
            return if taken > 0 { Ok(true) } else { Err(error) };
        }
        core.open(arena, |open| open.space_mut().commit(span.block, span.offset, span.len));
        Ok(true)
    }

    /// Gives back whole free pages.
    fn give_back(&self, core: &Core, target: u64) -> Result<u64, DeviceError> {
        let excess = core.driver.reserved().saturating_sub(target);
        self.slack.reset();
        let want = u32::try_from(excess.div_ceil(1 << core.shift)).unwrap_or(u32::MAX);
        let taken = take_from_holes(core, want, core.page(), None)?;
        Ok(core.bytes(taken.into()))
    }

    fn give_back_pages(&self, core: &Core, arena: u16, most: u32) -> Result<u32, DeviceError> {
        self.slack.reset();
        take_from_heap(core, arena, most, core.page(), None)
    }

    fn is_in_place(&self) -> bool {
        true
    }

    fn has_thread_heaps(&self) -> bool {
        self.thread_heaps
    }

    /// Which heaps the calling thread uses; `None` if that cannot be decided from within a call of the
    /// device.
    ///
    /// The thread gets a pair of its own: free pages of one growing heap can be moved to another, so the pair
    /// costs no memory. Where the settings do not allow that, or no arena is left, the thread uses the shared
    /// heaps.
    fn heaps_for_thread(&self, core: &Core) -> Option<OwnHeaps> {
        if !self.thread_heaps {
            return Some(OwnHeaps::Shared);
        }
        let _alone = core.growth.lock()?;
        // The pair with the most memory in it comes first, because that memory need not be moved.
        let committed =
            |pair: &[Arena]| -> u64 { pair.iter().map(|arena| u64::from(arena.levels().committed)).sum() };
        let vacant = (0..).zip(core.heaps.arenas().chunks_exact(2)).filter(|(_, pair)| !pair[0].is_owned());
        let fullest = vacant.max_by_key(|(place, pair)| (committed(pair), Reverse(*place)));
        let adopted = fullest.and_then(|(_, pair)| Pair::adopt(&pair[0], &pair[1]));
        let made = || {
            let large = reserve_pair(core).ok()??;
            Pair::adopt(core.heaps.arena(large), core.heaps.arena(large + 1))
        };
        Some(adopted.or_else(made).map_or(OwnHeaps::Shared, OwnHeaps::Pair))
    }

    /// Returns a span with a reserved tail behind it.
    fn allocate_with_tail(&self, core: &Core, request: &Request, align: u64) -> Option<Span> {
        if align > core.driver.limits().granularity {
            return None;
        }
        let page = core.page();
        let len = core.granules(request.size)?.checked_next_multiple_of(page)?;
        let most = core.granules(request.room.max(request.size)).unwrap_or(u32::MAX);
        let heap = core.own_arenas().map_or(0, |own| own.large);
        let _alone = core.growth.lock()?;
        let plan = || {
            core.open(heap, |open| {
                let room = open.space().plan_tail(most, page).filter(|room| room.len >= len)?;
                Some((room, open.memory()?))
            })
        };
        let (room, _) = plan()?;
        // The block begins a place of its own, so no free block is to be spared.
        self.even_out(core, PageRun { len, ..room }, len, page, None).ok()?;
        let (room, memory) = plan()?;
        self.commit_or_take(core, &*memory, PageRun { len, ..room }, page, heap).ok()?;
        let want = SpanRequest { class: GROWING, len, align: 1 };
        core.open(heap, |open| {
            let placed = open.space_mut().place_with_tail(room, len);
            Some(open.span(placed, want))
        })
    }

    /// Commits memory behind a block so that it has `len` granules. Returns `false` if there is no room. If
    /// too much lies in free blocks elsewhere, takes as much out of those. The caller holds the growth lock.
    fn extend(&self, core: &Core, heap: u16, block: u32, len: u32) -> Result<bool, DeviceError> {
        let page = core.page();
        let plan = || {
            core.open(heap, |open| {
                let span = open.space_mut().plan_extension(block, len, page)?;
                Some((span, open.memory()?))
            })
        };
        let Some((span, _)) = plan() else { return Ok(false) };
        self.even_out(core, span, span.len, page, Some((heap, span.block)))?;
        // Only the thread that holds the growth lock changes decommitted blocks, but the free block before
        // one comes and goes.
        let Some((span, memory)) = plan() else { return Ok(false) };
        self.commit_or_take(core, &*memory, span, page, heap)?;
        Ok(core.open(heap, |open| open.space_mut().extend_with(block, len, span)))
    }
}

/// Reserves the addresses of a growing heap.
pub(crate) fn reserve_elastic(core: &Core) -> Result<Option<u16>, StartError> {
    let (arena, heaps) = core.heaps.emptiest();
    if heaps > 0 {
        return Ok(None);
    }
    let limits = core.driver.limits();
    let most = core.bytes(u32::MAX.into()) / limits.granularity * limits.granularity;
    let size = limits.largest_heap.min(most) / limits.granularity * limits.granularity;
    let request = HeapRequest::elastic(size, "warmheap");
    let fail = |source| StartError::Heap { number: 1, heaps: 1, size, source };
    let held = core.driver.create_heap(&request, UpTo::Hard).map_err(fail)?;
    let len = core.granules(size).unwrap_or(u32::MAX);
    let refused = core.heaps.install(arena, Heap::new(len, held, true)).err();
    refused.into_iter().for_each(|heap| _ = whole_heaps::destroy(core, heap));
    Ok(Some(arena))
}

/// Reserves the addresses of two growing heaps in neighbouring arenas. Returns the first one's index.
pub(crate) fn reserve_pair(core: &Core) -> Result<Option<u16>, StartError> {
    let Some(large) = reserve_elastic(core)? else { return Ok(None) };
    match reserve_elastic(core) {
        Ok(Some(_)) => Ok(Some(large)),
        failed => {
            let reserved = core.heaps.arena(large).with(|open| open.remove_all());
            reserved.into_iter().for_each(|(heap, _)| _ = whole_heaps::destroy(core, heap));
            failed
        }
    }
}

/// Decommits up to `want` granules of whole free pages. Takes them from the longest free blocks of each heap,
/// except from those beside the decommitted block that is `growing` (its heap and block). Returns how much
/// that was. Heaps that no thread owns come first, then those of the calling thread: taking pages from
/// another thread's heap stops that thread for a moment.
pub(crate) fn take_from_holes(
    core: &Core,
    want: u32,
    page: u32,
    growing: Option<(u16, u32)>,
) -> Result<u32, DeviceError> {
    let own = core.own_arenas();
    // Each figure is read once, because threads change them while the heaps are sorted by them.
    let rank = |(index, arena): (u16, &Arena)| {
        let free = Some(arena.levels().free).filter(|free| *free >= page)?;
        Some((core.is_others(index, own), arena.is_owned(), Reverse(free), index))
    };
    let mut heaps: ArrayVec<_, MAX_ARENAS> = (0..).zip(core.heaps.arenas()).filter_map(rank).collect();
    heaps.sort_unstable();
    let mut taken = 0;
    for (.., index) in heaps {
        if taken >= want {
            break;
        }
        let growing = growing.filter(|(arena, _)| *arena == index).map(|(_, block)| block);
        taken += take_from_heap(core, index, want - taken, page, growing)?;
    }
    Ok(taken)
}

/// As [`take_from_holes`], from one heap.
pub(crate) fn take_from_heap(
    core: &Core,
    index: u16,
    want: u32,
    page: u32,
    growing: Option<u32>,
) -> Result<u32, DeviceError> {
    let mut taken = 0;
    while taken < want {
        // The metadata changes first, so that no thread gets the pages while the device takes them back.
        let booked = core.open(index, |open| {
            let memory = open.memory()?;
            let PageRun { block, offset, len } = open.space().plan_trim(want - taken, page, growing)?;
            let void = open.space_mut().decommit(block, offset, len);
            Some((PageRun { block: void, offset, len }, memory))
        });
        let Some((PageRun { block, offset, len }, memory)) = booked else { break };
        let done = core.driver.decommit(&*memory, core.bytes(offset.into()), core.bytes(len.into()));
        if let Err(error) = done {
            core.open(index, |open| open.space_mut().commit(block, offset, len));
            return Err(error);
        }
        taken += len;
    }
    Ok(taken)
}

/// The granules added at once when the pool grows, so that small requests do not call the device each. Memory
/// that another thread is asking the device for does not count, because the device may refuse it.
pub(crate) fn step(core: &Core, page: u32) -> u32 {
    let step = (core.driver.reserved() / STEP) >> core.shift;
    u32::try_from(step).unwrap_or(u32::MAX / 2).next_multiple_of(page)
}

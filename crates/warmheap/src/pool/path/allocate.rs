//! The miss: a request that the calling thread's cache could not serve.
//!
//! It owns the order in which the depot, the heaps and the slow path are tried, and makes the span ready for
//! its caller. It never calls the device under a heap's lock.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;

use arrayvec::ArrayVec;

use crate::pool::cache::thread_state::{CacheGuard, Own};
use crate::pool::core::{Core, caches, figures, notes, queues};
use crate::pool::heaps::arena_guard::ArenaGuard;
use crate::pool::heaps::span::{EXACT, Span, SpanRequest};
use crate::pool::heaps::thread_owned::OwnHeaps;
use crate::pool::interface::call_site::CallSite;
use crate::pool::interface::error::{AllocError, DeviceFailure, OutOfMemory, Shortage};
use crate::pool::interface::request::Request;
use crate::pool::path::slow;
use crate::pool::path::slow::Fall;
use crate::pool::sizing::{thread_heaps, whole_heaps};

/// Where heaps do not grow in place, a buffer that will grow gets one part in this many of its size in
/// addition.
const SPARE: u64 = 8;

/// The most spans cut at once for a small class, and the most granules of them. The request waits for all of
/// them.
const BATCH: u32 = 4;
const BATCH_LEN: u32 = 1024;

/// Returns a span for a request that will grow. `None` means that there is no memory for more than the
/// request asks, so that it is served like any other.
pub(crate) fn allocate_growing(core: &Core, request: &Request, align: u64) -> Option<Span> {
    if !core.process.is_current() {
        return None;
    }
    if core.sizing.is_in_place() {
        thread_heaps::move_in(core);
        return core.sizing.allocate_with_tail(core, request, align);
    }
    let spare = (request.size / SPARE).min(request.room.saturating_sub(request.size));
    let want = core.want(request.size.checked_add(spare)?, align)?;
    core.heaps.allocate(want, core.residence()).or_else(|| slow::make_available(core, want, want))
}

/// Serves a request by any means that it allows.
#[inline(never)]
pub(crate) fn serve(core: &Core, request: &Request, site: CallSite) -> Result<Span, AllocError> {
    if !request.may_block() {
        return Err(refuse_to_block(core, request));
    }
    if core.quotas.cover(request.tag) {
        return serve_metered(core, request, site);
    }
    serve_unmetered(core, request, site)
}

/// The error for a request that may not block and found nothing at once.
#[cold]
fn refuse_to_block(core: &Core, request: &Request) -> AllocError {
    let checked = core.process.check().map_err(AllocError::from).and_then(|()| core.check(request));
    checked.err().unwrap_or(AllocError::WouldBlock)
}

/// As [`serve`], under the quota of the request's tag.
#[cold]
fn serve_metered(core: &Core, request: &Request, site: CallSite) -> Result<Span, AllocError> {
    core.process.check()?;
    let charge = core.quotas.charge(request.tag, request.size, 0).inspect_err(|_| {
        core.failures.fetch_add(1, Relaxed);
    })?;
    let mut span = serve_unmetered(core, request, site)?;
    if let Some(charge) = charge {
        span.meter();
        charge.settle();
    }
    Ok(span)
}

/// As [`serve`], without a charge to a quota.
#[inline]
fn serve_unmetered(core: &Core, request: &Request, site: CallSite) -> Result<Span, AllocError> {
    let align = core.check(request)?;
    let want = core.want(request.size, align).filter(|_| core.config.enabled);
    if request.room > 0
        && let Some(span) = want.and_then(|_| allocate_growing(core, request, align))
    {
        return speak_and_hand_over(core, span, request, site);
    }
    // The allocation is counted in the same visit, unless it may still fail: the device must clear the span
    // first, or the pool grows ahead and then runs the program's code.
    let ahead = core.sizing.grows_ahead();
    let counted = !request.is_zeroed() && !ahead;
    let found = want.and_then(|want| {
        core.session(|session| {
            let span = take_from_heaps(core, session, want)?;
            if core.config.track_statistics && counted {
                session.local.counters.allocated(request.size, &core.peak);
            }
            Some(span)
        })
    });
    match found {
        Some(span) => {
            if ahead {
                core.sizing.grow_ahead(core);
                return speak_and_hand_over(core, span, request, site);
            }
            hand_over(core, span, request, site, counted)
        }
        None => serve_hard(core, want, request, align, site),
    }
}

/// Takes a span from the depot or from a heap that has room.
#[inline]
fn take_from_heaps(core: &Core, session: &mut CacheGuard<'_>, want: SpanRequest) -> Option<Span> {
    if want.class != EXACT {
        // The hit may have skipped this magazine, because it does not count new peaks.
        let cached = session.own.cache.pop(want.class.into(), &session.local.held);
        return cached.or_else(|| refill(core, session, want));
    }
    caches::unpin(core, session);
    cut(core, &mut session.own.heaps, want, |open| open.allocate(want))
}

/// Cuts from the thread's own heap, or from the shared heaps if the thread uses those.
#[inline]
fn cut(
    core: &Core,
    heaps: &mut OwnHeaps,
    want: SpanRequest,
    cut: impl FnMut(&mut ArenaGuard<'_>) -> Option<Span>,
) -> Option<Span> {
    match heaps {
        OwnHeaps::Pair(pair) => core.heaps.as_owner(pair.for_class(want.class), cut),
        // The slow path decides first which heaps the thread uses.
        OwnHeaps::Undecided => None,
        OwnHeaps::Resident(residence) => whole_heaps::cut(core, Some(*residence), want, cut),
        OwnHeaps::Shared => whole_heaps::cut(core, None, want, cut),
    }
}

/// Returns one span of a class, and puts a few more into this thread's cache.
fn refill(core: &Core, session: &mut CacheGuard<'_>, want: SpanRequest) -> Option<Span> {
    let (class, held) = (u32::from(want.class), &session.local.held);
    let Own { cache, heaps } = &mut *session.own;
    cache.set_limit(core.cache_limit());
    let from_depot = |stack: &mut Vec<Span>, most: usize| core.depot.take(class, most, stack);
    if let Some(span) = cache.take_in(class, want.len, held, from_depot) {
        return Some(span);
    }
    let mut more: ArrayVec<Span, { BATCH as usize }> = ArrayVec::new();
    let count = (BATCH_LEN / want.len).clamp(1, BATCH);
    let several = |open: &mut ArenaGuard<'_>| open.allocate_some(want, count, |span| more.push(span));
    let span = cut(core, heaps, want, several);
    for span in more {
        if let Err(refused) = cache.push(span, held) {
            core.release(heaps, [refused]);
        }
    }
    span
}

/// Serves a request for which no heap has room: makes room, or asks the device.
#[cold]
#[inline(never)]
fn serve_hard(
    core: &Core,
    want: Option<SpanRequest>,
    request: &Request,
    align: u64,
    site: CallSite,
) -> Result<Span, AllocError> {
    core.process.check()?;
    match slow::run_stages(core, want, request, align) {
        Ok(span) => hand_over(core, span, request, site, false),
        Err(fall) => Err(out_of_memory(core, request.size, fall)),
    }
}

/// As [`hand_over`], after the device was asked for memory.
fn speak_and_hand_over(
    core: &Core,
    span: Span,
    request: &Request,
    site: CallSite,
) -> Result<Span, AllocError> {
    let span = notes::speak_with(core, span);
    hand_over(core, span, request, site, false)
}

/// Makes a span ready for its caller, and counts the allocation if that is still to do.
#[inline]
fn hand_over(
    core: &Core,
    span: Span,
    request: &Request,
    site: CallSite,
    counted: bool,
) -> Result<Span, AllocError> {
    if request.is_zeroed()
        && let Err(error) = core.clear(&span, request.size)
    {
        core.put_back(span);
        core.failures.fetch_add(1, Relaxed);
        return Err(AllocError::Device(DeviceFailure::new(error)));
    }
    span.record().fill(request.size, request.tag, site);
    if !counted {
        core.count_allocation(request.size, span.is_fallback());
    }
    Ok(span)
}

#[cold]
fn out_of_memory(core: &Core, requested: u64, Fall { device, waited }: Fall) -> AllocError {
    core.failures.fetch_add(1, Relaxed);
    let (free, largest_free) = figures::free_bytes(core);
    AllocError::OutOfMemory(OutOfMemory::new(Shortage {
        requested,
        free,
        largest_free,
        reserved: core.driver.reserved(),
        in_flight: queues::in_flight(core),
        waited,
        limit: core.driver.account().most_bytes(),
        device,
    }))
}

//! The hit: a request served from memory that the calling thread owns.
//!
//! It owns the fastest way of a request and of a free. It never touches memory of another thread: no shared
//! atomic, no lock, no reference count. Only a large cut from the shared heaps enters a heap's lock, and it
//! never waits for that. It is inlined into the caller. [`allocate`](crate::pool::path::allocate) takes what
//! it cannot serve.
#![forbid(unsafe_code)]

use crate::pool::cache::size_class::{CLASSES, class_of};
use crate::pool::cache::thread_state;
use crate::pool::cache::thread_state::CacheGuard;
use crate::pool::core::{Core, caches};
use crate::pool::heaps::span::{EXACT, Span, SpanHead, SpanRequest};
use crate::pool::heaps::thread_owned::OwnHeaps;
use crate::pool::interface::call_site::CallSite;
use crate::pool::interface::request::{Request, Tag};

/// Cuts a plain request that is too large for a class from this thread's own heap. A thread that has none
/// cuts it from a shared heap, if no other thread is in that heap now.
#[inline(always)]
pub(crate) fn cut_at_once(core: &Core, request: &Request, site: CallSite) -> Option<Span> {
    let large = request.size.wrapping_sub(1) >= core.largest_class && core.is_plain(request);
    if !large {
        return None;
    }
    let len = core.granules(request.size)?;
    let mut heap = 0;
    match cut_large(core, request.size, len, request.tag, site, &mut heap) {
        Some(start) => Some(Span::new(start, len, EXACT, heap)),
        None => cut_shared(core, request.size, len, request.tag, site),
    }
}

/// Returns the span's head in registers, and only the arena's index through memory. A whole span would be
/// stored in parts here, and its user would load it at once in larger pieces, which stalls.
#[inline(never)]
fn cut_large(
    core: &Core,
    size: u64,
    len: u32,
    tag: Tag,
    site: CallSite,
    place: &mut u16,
) -> Option<SpanHead> {
    let cut = thread_state::enter(core, |mut session| {
        let own = session.own.heaps.large()?;
        *place = own.index();
        let start = core.heaps.as_owner(own, |open| open.begin(len))?;
        if core.config.track_statistics {
            session.local.counters.allocated(size, &core.peak);
        }
        Some(start)
    });
    let start = cut.flatten()?;
    start.record().fill(size, tag, site);
    Some(start)
}

/// As [`cut_large`], for threads that use the shared heaps.
#[inline(never)]
fn cut_shared(core: &Core, size: u64, len: u32, tag: Tag, site: CallSite) -> Option<Span> {
    // The miss adds heaps ahead where the settings ask for that.
    if core.sizing.grows_ahead() {
        return None;
    }
    thread_state::enter(core, |mut session| {
        caches::unpin(core, &mut session);
        let residence = match session.own.heaps {
            OwnHeaps::Resident(residence) => Some(residence),
            OwnHeaps::Shared => None,
            OwnHeaps::Undecided | OwnHeaps::Pair(_) => return None,
        };
        let span = core.heaps.allocate_at_once(SpanRequest { class: EXACT, len, align: 1 }, residence)?;
        if core.config.track_statistics {
            session.local.counters.allocated(size, &core.peak);
        }
        span.record().fill(size, tag, site);
        Some(span)
    })?
}

/// Serves a plain request from this thread's cache.
#[inline(always)]
pub(crate) fn hit(core: &Core, request: &Request, site: CallSite) -> Option<Span> {
    if !core.is_plain(request) {
        return None;
    }
    // A size of 0 wraps around, and so is too large as well.
    let last = request.size.wrapping_sub(1);
    if last >= core.largest_class {
        return None;
    }
    thread_state::enter(core, |mut session| {
        let CacheGuard { own, local } = &mut session;
        if last >= local.counters.quick() {
            return None;
        }
        let class = class_of((last >> core.shift) as u32 + 1);
        let span = own.cache.top(class)?;
        if core.config.track_statistics && !local.counters.quickly_allocated(request.size) {
            return None;
        }
        let span = span.take(&local.held);
        span.record().fill(request.size, request.tag, site);
        Some(span)
    })?
}

/// Puts a span of `class` and `len` into this thread's cache. Returns `false`, without calling `range`, if it
/// cannot go there.
#[inline(always)]
pub(crate) fn free(core: &Core, class: u16, len: u32, size: u64, span: impl FnOnce() -> Span) -> bool {
    if usize::from(class) >= CLASSES {
        return false;
    }
    let freed = thread_state::enter(core, |mut session| {
        let CacheGuard { own, local } = &mut session;
        let Some(room) = own.cache.room(class, len, &local.held) else { return false };
        if core.config.track_statistics {
            let Some(count) = local.counters.count_free(size) else { return false };
            room.fill(span(), &local.held);
            count.done();
        } else {
            room.fill(span(), &local.held);
        }
        true
    });
    freed == Some(true)
}

//! The slow path: the stages that run when no heap has room, cheapest first.
//!
//! 1. *retired*: frees retired buffers whose work on a queue has completed
//! 2. *caches*: gives up spans that threads have cached
//! 3. *purgeable*: takes purgeable heaps back into use
//! 4. *compaction*: moves movable buffers, one step's worth, if the settings allow
//! 5. *growth*: gets memory from the device for a heap; unused memory makes way for it
//! 6. *fallback*: gets memory from the device for this request alone
//! 7. *wait*: waits for work in flight, as long as the request or the settings allow
//! 8. *callbacks*: asks the program to free something
//!
//! Then the request fails, with the figures. The module owns the order of the stages and counts each. One
//! thread at a time holds the growth lock, which *caches*, *purgeable* and *growth* need; the others wait
//! for it and search again. No lock of the pool is held in the last two stages. Neither the growth lock nor a
//! heap's is held while buffers are moved. The device is never called under a heap's lock, so frees and hits
//! go on meanwhile.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::device::DeviceError;
use crate::pool::accounting::account::UpTo;
use crate::pool::accounting::stages::Stage;
use crate::pool::core::notes::Note;
use crate::pool::core::{Core, caches, notes, queues};
use crate::pool::heaps::span::{EXACT, Span, SpanRequest};
use crate::pool::heaps::thread_owned::OwnArenas;
use crate::pool::interface::pressure::Pressure;
use crate::pool::interface::request::Request;
use crate::pool::path::{compact, fallback};
use crate::pool::sizing::{purgeable, thread_heaps, whole_heaps};
use crate::sync::lock;

/// How the slow path ended without a span.
#[derive(Debug)]
pub(crate) struct Fall {
    /// The device's last error; `None` if the request ruled fallback out.
    pub(crate) device: Option<DeviceError>,
    /// How long the request waited.
    pub(crate) waited: Duration,
}

/// Runs the stages for a request until one yields a span or nothing is left to try.
#[cold]
pub(crate) fn run_stages(
    core: &Core,
    want: Option<SpanRequest>,
    request: &Request,
    align: u64,
) -> Result<Span, Fall> {
    let begun = Instant::now();
    let patience = request.patience().unwrap_or(core.config.wait);
    let (mut reached, mut asked) = (None, false);
    let exact =
        want.and_then(|want| Some(SpanRequest { class: EXACT, len: core.granules(request.size)?, ..want }));
    loop {
        let found = want.zip(exact).and_then(|(want, exact)| make_available(core, want, exact));
        let within = core.is_within_call().then_some(DeviceError::WithinCall { call: "Pool::allocate" });
        let (found, device) = match found {
            None if request.may_fall_back() => match fallback::fall_back(core, request.size, align) {
                Ok(span) => (Some(span), None),
                Err(error) => (None, Some(within.unwrap_or(error))),
            },
            found => (found, within),
        };
        if let Some(step) = reached {
            core.stages.served(step, found.as_ref());
        }
        if let Some(span) = found {
            return Ok(notes::speak_with(core, span));
        }
        notes::speak(core);
        if queues::wait_for_queues(core, begun, patience) {
            reached = Some(Stage::Wait);
        } else if !asked && ask_for_help(core, request.size) {
            (reached, asked) = (Some(Stage::Callbacks), true);
        } else {
            let waited = if patience.is_zero() { patience } else { begun.elapsed() };
            return Err(Fall { device, waited });
        }
    }
}

/// Finds room in heaps, or makes room. `exact` is the same request, not rounded to a size class.
pub(crate) fn make_available(core: &Core, want: SpanRequest, exact: SpanRequest) -> Option<Span> {
    if thread_heaps::move_in(core)
        && let Some(span) = search(core, want)
    {
        return Some(span);
    }
    // What queues have completed since the last poll is the cheapest memory there is.
    core.stages.tried(Stage::Retired);
    if queues::poll_queues(core)
        && let Some(span) = core.stages.served(Stage::Retired, search(core, want))
    {
        return Some(span);
    }
    let mut alone = core.growth.lock()?;
    // The thread that held the lock before may have left room for both.
    if let Some(span) = search(core, want) {
        return Some(span);
    }
    core.stages.tried(Stage::Caches);
    if let Some(span) = search_caches(core, want) {
        return Some(span);
    }
    core.stages.tried(Stage::Purgeable);
    while purgeable::reclaim(core, want) {
        if let Some(span) = core.stages.served(Stage::Purgeable, search(core, want)) {
            return Some(span);
        }
    }
    if compact::may_compact_for(core, want) {
        drop(alone);
        core.stages.tried(Stage::Compaction);
        if compact::compact_unless_busy(core)
            && let Some(span) = core.stages.served(Stage::Compaction, search(core, want))
        {
            return Some(span);
        }
        alone = core.growth.lock()?;
    }
    core.stages.tried(Stage::Growth);
    let grown = core.stages.served(Stage::Growth, grow_and_search(core, want, exact));
    drop(alone);
    grown
}

/// Grows until there is room, or until neither settings nor device allow more.
fn grow_and_search(core: &Core, want: SpanRequest, exact: SpanRequest) -> Option<Span> {
    let mut up_to = UpTo::Soft;
    loop {
        match core.sizing.grow(core, want, up_to) {
            Ok(true) => {}
            Ok(false) => return search_everywhere(core, want, exact),
            Err(error) => {
                core.notes.add(Note::CouldNotGrow(error.clone()));
                // Free memory in other threads' heaps may fit the request as it lies. If not, it may make
                // way.
                let found = search_everywhere(core, want, exact);
                if found.is_some() {
                    return found;
                }
                match purgeable::make_way(core, error) {
                    Ok(()) => {}
                    // A soft limit is passed only when nothing is left to give back.
                    Err(DeviceError::PastLimit { .. }) if up_to == UpTo::Soft => up_to = UpTo::Hard,
                    Err(_) => return None,
                }
            }
        }
        if let Some(span) = search(core, want) {
            return Some(span);
        }
    }
}

/// Searches this thread's own heap, or all heaps if it has none.
fn search(core: &Core, want: SpanRequest) -> Option<Span> {
    let own = core.own_arenas();
    let from_own = |own: OwnArenas| core.open(own.for_class(want.class), |open| open.allocate(want));
    if let Some(span) = own.and_then(from_own) {
        return Some(span);
    }
    // While this thread's own heap can grow, it does not use free memory in other threads' heaps: it can have
    // the pages without the addresses.
    if own.is_some() {
        return None;
    }
    core.heaps.refresh_hints();
    whole_heaps::cut(core, core.residence(), want, |open| open.allocate(want))
}

/// Searches again with caches given up: this thread's own first, then those of others if they hold enough. A
/// span that would go back to another heap than the one to cut from stays in its cache. Growth gives it up if
/// it is short of pages.
fn search_caches(core: &Core, want: SpanRequest) -> Option<Span> {
    let owns = core.own_arenas().is_some();
    let own = !owns || want.class != EXACT;
    // The cache is shed bit by bit, the least recently used classes first: the next requests would miss at
    // once what is used all the time.
    while own && caches::shed_own_cache(core) {
        if let Some(span) = core.stages.served(Stage::Caches, search(core, want)) {
            return Some(span);
        }
    }
    let all = !owns && caches::cached(core) >= want.len.into() && caches::flush_caches(core);
    let span = if all { search(core, want) } else { None };
    core.stages.served(Stage::Caches, span)
}

/// Searches all heaps, other threads' too, with every cache given up. This is the last search, so it also
/// tries the exact length, and looks at every free block that may have it.
fn search_everywhere(core: &Core, want: SpanRequest, exact: SpanRequest) -> Option<Span> {
    caches::flush_caches(core);
    core.heaps.refresh_hints();
    let residence = core.residence();
    // While the lock is held, no heap is on its way from one arena to another.
    let _none_moves = lock(&core.purgeable);
    core.heaps.allocate(want, residence).or_else(|| core.heaps.allocate_thoroughly(exact))
}

/// Calls the program's callbacks because a request is about to fail. Returns `false` if none was called.
fn ask_for_help(core: &Core, requested: u64) -> bool {
    let called = !core.is_within_call() && core.callbacks.call(Pressure::Exhausted { requested });
    if called {
        core.stages.tried(Stage::Callbacks);
    }
    called
}

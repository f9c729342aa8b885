//! Discrete heaps: where heaps cannot grow in place, the pool adds further ones, as large as its size
//! suggests.
//!
//! The module owns the size of a new heap. It never changes a heap that exists, except to give it back as a
//! whole.
#![forbid(unsafe_code)]

use crate::config::MIB;
use crate::device::DeviceError;
use crate::pool::accounting::account::UpTo;
use crate::pool::core::sizing::Sizing;
use crate::pool::core::{Core, figures};
use crate::pool::heaps::fit_index::MAX_ARENAS;
use crate::pool::heaps::span::SpanRequest;
use crate::pool::heaps::thread_owned::OwnHeaps;
use crate::pool::interface::start_error::StartError;
use crate::pool::sizing::whole_heaps;

const SMALLEST_HEAP: u64 = 24 * MIB;

/// A discrete heap is at least one part in this many of what its arena has. Where threads have arenas of their
/// own, each has as many heaps as a single thread would, so that unused ones can move.
const HEAP_SHARE: u64 = 48;

/// One part in this many of what is used may be free, in arenas that other threads prefer, when a thread gets
/// a heap of its own.
const SLACK_SHARE: u64 = 24;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Discrete;

impl Sizing for Discrete {
    fn arenas(&self) -> usize {
        MAX_ARENAS
    }

    fn most_heaps(&self) -> usize {
        usize::MAX
    }

    /// A heap goes to the thread that it was created for.
    fn arena_for_heap(&self, core: &Core) -> u16 {
        core.residence().unwrap_or(0)
    }

    fn heaps_for_thread(&self, core: &Core) -> Option<OwnHeaps> {
        Some(core.heaps.settle_in(|_| true).map_or(OwnHeaps::Shared, OwnHeaps::Resident))
    }

    fn open(&self, _core: &Core) -> Result<(), StartError> {
        Ok(())
    }

    /// Creates a heap as large as the pool's size suggests, long enough for the request.
    fn grow(&self, core: &Core, want: SpanRequest, up_to: UpTo) -> Result<bool, DeviceError> {
        let bytes = core.bytes(u64::from(want.len) + u64::from(want.align) - 1);
        let limits = core.driver.limits();
        whole_heaps::drop_unused_heaps(core, 0);
        let own = core.heaps.arena(self.arena_for_heap(core)).levels().committed;
        let wish = (core.bytes(own.into()) / HEAP_SHARE).max(SMALLEST_HEAP);
        // A request near that size gets a heap of its own. Otherwise further requests like this one fill the
        // heap. Either way nothing is wasted.
        let wish = if bytes >= wish / 2 { bytes } else { wish / bytes * bytes };
        let round = |size: u64| size.checked_next_multiple_of(limits.granularity);
        let Some(least) = round(bytes).filter(|least| *least <= limits.largest_heap) else {
            return Ok(false);
        };
        let wish =
            round(wish).unwrap_or(least).min(limits.largest_heap / limits.granularity * limits.granularity);
        match whole_heaps::add_heap(core, wish.max(least), up_to) {
            Err(_) if wish > least => whole_heaps::add_heap(core, least, up_to),
            answer => answer,
        }
    }

    /// A thread that lives off the arenas of others meets them there. As long as little memory is free, it gets
    /// heaps of its own.
    fn grows_first(&self, core: &Core, len: u32) -> bool {
        let (committed, used) = figures::levels(core);
        committed + u64::from(len) <= used + used / SLACK_SHARE
    }

    fn give_back(&self, core: &Core, target: u64) -> Result<u64, DeviceError> {
        Ok(whole_heaps::drop_unused_heaps(core, target))
    }
}

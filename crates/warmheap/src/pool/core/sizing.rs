//! What the three kinds of heaps do differently.
//!
//! The module owns that list and no state. The pool chooses one sizing when it opens, and never changes it.
//! Each has a file of its own in [`sizing`](crate::pool::sizing).
#![forbid(unsafe_code)]

use std::fmt;

use crate::config::{PoolConfig, Strategy};
use crate::device::DeviceError;
use crate::pool::accounting::account::UpTo;
use crate::pool::core::Core;
use crate::pool::heaps::span::{Span, SpanRequest};
use crate::pool::heaps::thread_owned::OwnHeaps;
use crate::pool::interface::request::Request;
use crate::pool::interface::start_error::StartError;

/// See the module's documentation. Lengths are granules.
pub(crate) trait Sizing: fmt::Debug + Send + Sync {
    /// How many arenas the heaps lie in, at most.
    fn arenas(&self) -> usize;

    /// How many heaps there can be.
    fn most_heaps(&self) -> usize;

    /// The arena that a new heap goes to.
    fn arena_for_heap(&self, core: &Core) -> u16 {
        core.heaps.emptiest().0
    }

    /// The rule that chooses a heap for a request. Heaps that the pool sizes itself differ in size and age,
    /// so best fit serves them.
    fn strategy(&self) -> Strategy {
        Strategy::BestFit
    }

    /// Creates the heaps that the pool starts with.
    fn open(&self, core: &Core) -> Result<(), StartError>;

    /// Adds memory for one span. Returns `false` if the settings leave no way. The caller holds the growth
    /// lock.
    fn grow(&self, core: &Core, want: SpanRequest, up_to: UpTo) -> Result<bool, DeviceError>;

    /// Whether heaps are added before one is missed.
    fn grows_ahead(&self) -> bool {
        false
    }

    /// Adds a heap before one is missed.
    fn grow_ahead(&self, _core: &Core) {}

    /// Whether the pool should rather grow than cut `len` granules from arenas that other threads prefer.
    fn grows_first(&self, _core: &Core, _len: u32) -> bool {
        false
    }

    /// Gives back free pages or unused heaps, beyond what the settings promise, while more than `target`
    /// bytes are held. Returns the bytes given back. The caller holds the growth lock.
    fn give_back(&self, core: &Core, target: u64) -> Result<u64, DeviceError>;

    /// Gives back up to `most` idle granules of an arena, if heaps shrink where they are. Returns how much
    /// that was. The caller holds the growth lock.
    fn give_back_pages(&self, _core: &Core, _arena: u16, _most: u32) -> Result<u32, DeviceError> {
        Ok(0)
    }

    /// How many heaps the settings promise to keep.
    fn promised(&self) -> usize {
        0
    }

    /// Whether heaps grow and shrink where they are.
    fn is_in_place(&self) -> bool {
        false
    }

    /// Whether threads have heaps of their own.
    fn has_thread_heaps(&self) -> bool {
        false
    }

    /// Which heaps the calling thread uses; `None` if that cannot be decided from within a call of the
    /// device.
    fn heaps_for_thread(&self, _core: &Core) -> Option<OwnHeaps> {
        Some(OwnHeaps::Shared)
    }

    /// Returns a span with a reserved tail; `None` where addresses cannot be reserved, or memory is short.
    fn allocate_with_tail(&self, _core: &Core, _request: &Request, _align: u64) -> Option<Span> {
        None
    }

    /// Commits memory behind a block so that it has `len` granules. Returns `false` if there is no room. The
    /// caller holds the growth lock.
    fn extend(&self, _core: &Core, _heap: u16, _block: u32, _len: u32) -> Result<bool, DeviceError> {
        Ok(false)
    }
}

/// Whether the settings give threads heaps of their own, where the device can.
pub(crate) fn wants_thread_heaps(config: &PoolConfig) -> bool {
    config.enabled && config.thread_heaps && config.thread_cache.max_bytes > 0
}

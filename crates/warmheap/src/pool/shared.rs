//! The pool's parts, and the two paths that matter: a request answered from this thread's cache,
//! and a buffer returned to it.
//!
//! Both paths touch only memory of this thread: no shared atomic, no lock, no reference count. They
//! are inlined into the caller; whatever they cannot do is handed to `serve` and `reclaim`.
#![forbid(unsafe_code)]

use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, Weak};

use super::classes::{self, class_of};
use super::counters::{Peak, Totals};
use super::depot::Depot;
use super::driver::Driver;
use super::fallback::Fallback;
use super::heaps::Heaps;
use super::local::{self, Local};
use super::range::Range;
use super::request::Request;
use crate::config::{PoolConfig, Scrub};

/// Everything behind a pool's handles.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) me: Weak<Self>,
    pub(crate) config: PoolConfig,
    pub(crate) driver: Driver,
    /// log2 of the bytes in a granule.
    pub(crate) shift: u32,
    /// The largest request that has a class, in bytes.
    pub(crate) largest_class: u64,
    pub(crate) heaps: Heaps,
    pub(crate) depot: Depot,
    pub(crate) fallback: Fallback,
    pub(crate) locals: Mutex<Vec<Arc<Local>>>,
    pub(crate) peak: Peak,
    /// What was counted by threads that are gone.
    pub(crate) past: Mutex<Totals>,
    pub(crate) fallbacks: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// Set while the last requests went to the device, so that a burst is logged once.
    pub(crate) exhausted: AtomicBool,
    /// Held by the one thread that makes memory available.
    pub(crate) growth: Mutex<()>,
    pub(crate) closed: AtomicBool,
    /// Keeps a closed pool alive until its last buffer is back.
    pub(crate) orphans: Mutex<Option<Arc<Self>>>,
}

impl Shared {
    /// Answers a plain request from this thread's cache.
    #[inline(always)]
    pub(crate) fn hit(&self, request: &Request, site: &'static Location<'static>) -> Option<Range> {
        let last = request.size.wrapping_sub(1);
        if last >= self.largest_class || request.align > 1 << self.shift || request.zeroed {
            return None;
        }
        let class = class_of((last >> self.shift) as u32 + 1);
        local::enter(self, |mut session| {
            let range = session.cache.pop(class, &session.local.held)?;
            if self.config.track_statistics {
                session.local.counters.allocated(request.size, &self.peak);
            }
            range.tenant().moves_in(request.size, request.tag, site);
            Some(range)
        })?
    }

    /// Returns a range to this thread's cache, or hands it back.
    #[inline(always)]
    pub(crate) fn free(&self, range: Range, size: u64) -> Result<(), Range> {
        if self.config.scrub != Scrub::Never {
            return Err(range);
        }
        let mut range = Some(range);
        let freed =
            local::enter(self, |mut session| match session.cache.push(range.take()?, &session.local.held) {
                Ok(()) => {
                    if self.config.track_statistics {
                        session.local.counters.freed(size, &self.peak);
                    }
                    Some(())
                }
                Err(refused) => {
                    range = Some(refused);
                    None
                }
            });
        match (freed.flatten(), range) {
            (None, Some(range)) => Err(range),
            _ => Ok(()),
        }
    }

    /// Granules that hold `size` bytes; `None` past what any heap can hold.
    pub(crate) fn granules(&self, size: u64) -> Option<u32> {
        u32::try_from((size.checked_sub(1)? >> self.shift) + 1).ok()
    }

    pub(crate) fn bytes(&self, granules: u64) -> u64 {
        granules << self.shift
    }

    /// What a thread may hold back at the pool's present size, in granules.
    pub(crate) fn cache_limit(&self) -> u64 {
        const FLOOR: u64 = 4 << 20;
        const SHARE: u64 = 128;
        let share = (self.driver.reserved() / SHARE).max(FLOOR);
        share.min(self.config.thread_cache.max_bytes) >> self.shift
    }

    /// The largest class's bytes, for a granule of `1 << shift`.
    pub(crate) fn largest_class(config: &PoolConfig, shift: u32) -> u64 {
        if config.enabled { u64::from(classes::LARGEST) << shift } else { 0 }
    }
}

//! The pool's parts, and the two paths that matter: a request answered from this thread's cache,
//! and a buffer returned to it.
//!
//! Both paths touch only memory of this thread: no shared atomic, no lock, no reference count. They
//! are inlined into the caller; whatever they cannot do is handed to `serve` and `reclaim`.
#![forbid(unsafe_code)]

use std::sync::{Arc, Weak};

use super::buffer::Buffer;
use super::bursts::Bursts;
use super::classes::{self, CLASSES, class_of};
use super::compact::Compactor;
use super::counters::{Peak, Totals};
use super::depot::Depot;
use super::driver::Driver;
use super::early::Early;
use super::fallback::Fallback;
use super::headroom::Headroom;
use super::heap::Heap;
use super::heaps::Heaps;
use super::idle::Looks;
use super::ladder::Ladder;
use super::left::Left;
use super::local::{self, Local, Session};
use super::notes::Notes;
use super::pressure::Callbacks;
use super::quotas::Quotas;
use super::range::Range;
use super::request::Request;
use super::site::Site;
use super::timeline::Timeline;
use super::withheld::Withheld;
use crate::config::{PoolConfig, Scrub};
use crate::fork::Process;
use crate::sync::{AtomicBool, AtomicU64, CheckedMutex, Mutex};

/// Everything behind a pool's handles.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) me: Weak<Self>,
    /// The process that may use the pool.
    pub(crate) process: Process,
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
    pub(crate) exhaustion: Bursts,
    pub(crate) ladder: Ladder,
    pub(crate) callbacks: Callbacks,
    pub(crate) quotas: Quotas,
    /// Heaps are added before they are missed.
    pub(crate) grows_ahead: bool,
    /// When that was last refused.
    pub(crate) not_ahead: Bursts,
    pub(crate) headroom: Headroom,
    /// What is known of idle memory; held by the one thread that looks.
    pub(crate) looks: Mutex<Looks>,
    pub(crate) compactor: Compactor,
    /// Held by the one thread that makes memory available.
    pub(crate) growth: CheckedMutex,
    /// Heaps that are in no slot because the system may take their pages.
    pub(crate) resting: Mutex<Vec<Heap>>,
    /// What could not be cleared and must not be handed out as it is.
    pub(crate) withheld: Withheld,
    pub(crate) closed: AtomicBool,
    /// The queues that retired buffers may wait for.
    pub(crate) timelines: Mutex<Vec<Weak<Timeline<Buffer>>>>,
    /// What waits for queues that have no handle any more.
    pub(crate) left: Left,
    /// What there is to tell the log.
    pub(crate) notes: Notes,
    /// What ranges owe that their queues have back early.
    pub(crate) early: Early,
    /// Keeps a closed pool alive until its last buffer is back.
    pub(crate) orphans: Mutex<Option<Arc<Self>>>,
}

impl Shared {
    /// Answers a plain request from this thread's cache.
    #[inline(always)]
    pub(crate) fn hit(&self, request: &Request, site: Site) -> Option<Range> {
        if !self.is_plain(request) {
            return None;
        }
        // A size of 0 wraps and is too large, too.
        let last = request.size.wrapping_sub(1);
        if last >= self.largest_class {
            return None;
        }
        local::enter(self, |mut session| {
            let Session { own, local } = &mut session;
            if last >= local.counters.quick() {
                return None;
            }
            let class = class_of((last >> self.shift) as u32 + 1);
            let range = own.cache.top(class)?;
            if self.config.track_statistics && !local.counters.quickly_allocated(request.size) {
                return None;
            }
            let range = range.take(&local.held);
            range.tenant().moves_in(request.size, request.tag, site);
            Some(range)
        })?
    }

    /// Whether any range that is long enough will do, as it is.
    #[inline(always)]
    pub(crate) fn is_plain(&self, request: &Request) -> bool {
        let align = request.align;
        // Not a power of two: refused on the long way, whatever is cached.
        let odd = align & align.wrapping_sub(1) != 0;
        !(align > 1 << self.shift || odd || !request.plain || self.quotas.cover(request.tag))
    }

    /// Returns a range of `class` and `len` to this thread's cache. `false`, and `range` not called,
    /// if it cannot go there.
    #[inline(always)]
    pub(crate) fn free(&self, class: u16, len: u32, size: u64, range: impl FnOnce() -> Range) -> bool {
        if usize::from(class) >= CLASSES {
            return false;
        }
        let freed = local::enter(self, |mut session| {
            let Session { own, local } = &mut session;
            let Some(room) = own.cache.room(class, len, &local.held) else { return false };
            if self.config.track_statistics {
                let Some(count) = local.counters.count_free(size) else { return false };
                room.fill(range(), &local.held);
                count.done();
            } else {
                room.fill(range(), &local.held);
            }
            true
        });
        freed == Some(true)
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
        if self.config.scrub == Scrub::OnFree {
            // What is freed is cleared and given back to its heap, every time.
            return 0;
        }
        let share = (self.driver.reserved() / SHARE).max(FLOOR);
        share.min(self.config.thread_cache.max_bytes) >> self.shift
    }

    /// The largest class's bytes, for a granule of `1 << shift`.
    pub(crate) fn largest_class(config: &PoolConfig, shift: u32) -> u64 {
        if config.enabled { u64::from(classes::LARGEST) << shift } else { 0 }
    }
}

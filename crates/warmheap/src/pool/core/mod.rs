//! The state of a pool, in one place, and the tools over it that every path uses.
//!
//! The folder owns that state and the moves between its parts, such as emptying caches or giving a span back.
//! It never decides how a request is served or when memory is given back: [`path`](crate::pool::path),
//! [`sizing`](crate::pool::sizing) and [`background`](crate::pool::background) do.
#![deny(unsafe_code)]

pub(crate) mod buffer;
pub(crate) mod caches;
pub(crate) mod callbacks;
pub(crate) mod closing;
pub(crate) mod figures;
pub(crate) mod idle_samples;
pub(crate) mod movables;
pub(crate) mod notes;
pub(crate) mod quarantine;
pub(crate) mod queues;
pub(crate) mod sizing;
pub(crate) mod spans;
pub(crate) mod threads;

use std::sync::{Arc, Weak};

use crate::config::{PoolConfig, Scrub};
use crate::device::DeviceError;
use crate::fork::Process;
use crate::pool::accounting::counters::{Peak, Totals};
use crate::pool::accounting::device_calls::DeviceCalls;
use crate::pool::accounting::quotas::Quotas;
use crate::pool::accounting::rate_limit::RateLimit;
use crate::pool::accounting::stages::StageCounters;
use crate::pool::cache::depot::Depot;
use crate::pool::cache::size_class;
use crate::pool::cache::size_class::{LARGEST, class_of, len_of};
use crate::pool::cache::thread_state::ThreadState;
use crate::pool::core::buffer::Buffer;
use crate::pool::core::callbacks::Callbacks;
use crate::pool::core::idle_samples::Looks;
use crate::pool::core::movables::Compactor;
use crate::pool::core::notes::{Note, Notes};
use crate::pool::core::quarantine::Quarantine;
use crate::pool::core::sizing::Sizing;
use crate::pool::heaps::arena_guard::Heap;
use crate::pool::heaps::fallback::Fallback;
use crate::pool::heaps::span::{EXACT, Span, SpanRequest};
use crate::pool::heaps::table::HeapTable;
use crate::pool::in_flight::early_reuse::EarlyReuse;
use crate::pool::in_flight::left_behind::Left;
use crate::pool::in_flight::timeline::Timeline;
use crate::pool::interface::error::AllocError;
use crate::pool::interface::request::Request;
use crate::sync::{AtomicBool, AtomicU64, CheckedMutex, Holding, Mutex, lock};

/// Everything behind a pool's handles.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) me: Weak<Self>,
    /// The process that may use the pool.
    pub(crate) process: Process,
    pub(crate) config: PoolConfig,
    pub(crate) driver: DeviceCalls,
    /// log2 of the bytes in a granule.
    pub(crate) shift: u32,
    /// The largest request that has a class, in bytes.
    pub(crate) largest_class: u64,
    pub(crate) heaps: HeapTable,
    pub(crate) depot: Depot,
    pub(crate) fallback: Fallback,
    pub(crate) locals: Mutex<Vec<Arc<ThreadState>>>,
    pub(crate) peak: Peak,
    /// The counts of threads that are gone.
    pub(crate) past: Mutex<Totals>,
    pub(crate) fallbacks: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) exhaustion: RateLimit,
    pub(crate) stages: StageCounters,
    pub(crate) callbacks: Callbacks,
    pub(crate) quotas: Quotas,
    /// What this kind of heaps does differently.
    pub(crate) sizing: Box<dyn Sizing>,
    /// The samples of decay. The one thread that takes a sample holds the lock.
    pub(crate) looks: Mutex<Looks>,
    pub(crate) compactor: Compactor,
    /// The growth lock: the one thread that makes memory available holds it.
    pub(crate) growth: CheckedMutex,
    /// Purgeable heaps. They are in no arena, because the system may take their pages. A thread that moves a
    /// heap from one arena to another holds the lock, too.
    pub(crate) purgeable: Mutex<Vec<Heap>>,
    /// Spans that could not be cleared and must not be handed out as they are.
    pub(crate) quarantine: Quarantine,
    pub(crate) closed: AtomicBool,
    /// The queues that retired buffers may wait for.
    pub(crate) timelines: Mutex<Vec<Weak<Timeline<Buffer>>>>,
    /// The buffers that wait for queues without a handle.
    pub(crate) left: Left<Buffer>,
    /// Lines for the log that were not written yet.
    pub(crate) notes: Notes,
    /// The pending tickets of spans in use.
    pub(crate) early: EarlyReuse<Buffer>,
    /// Keeps a closed pool alive until its last buffer is back.
    pub(crate) closing: Mutex<Option<Arc<Self>>>,
}

impl Core {
    /// The number of heaps held from the device, purgeable ones included.
    pub(crate) fn heap_count(&self) -> usize {
        self.count_heaps(&lock(&self.purgeable))
    }

    /// As [`Core::heap_count`], for a caller that has locked the purgeable heaps. Meanwhile, no heap is on its
    /// way from one arena to another.
    pub(crate) fn count_heaps(&self, purgeable: &[Heap]) -> usize {
        let heaps = self.heaps.arenas().iter().map(|arena| arena.with(|open| open.heaps().count()));
        heaps.sum::<usize>() + purgeable.len()
    }

    /// The step in which the device commits memory, in granules.
    pub(crate) fn page(&self) -> u32 {
        (self.driver.limits().granularity >> self.shift) as u32
    }

    /// Notes that memory went back to the device, if that failed in part.
    pub(crate) fn note_end(&self, ended: Result<(), DeviceError>) {
        if let Err(error) = ended {
            self.notes.add(Note::CouldNotEnd(error));
        }
    }

    /// The alignment to serve the request at, in bytes.
    #[inline]
    pub(crate) fn check(&self, request: &Request) -> Result<u64, AllocError> {
        if request.size == 0 {
            return Err(AllocError::ZeroSize);
        }
        if request.align != 0 && !request.align.is_power_of_two() {
            return Err(AllocError::BadAlignment { align: request.align });
        }
        Ok(request.align.max(1 << self.shift))
    }

    /// The request in granules; `None` if no heap could ever be that large.
    #[inline]
    pub(crate) fn want(&self, size: u64, align: u64) -> Option<SpanRequest> {
        let len = self.granules(size)?;
        let align = u32::try_from(align >> self.shift).ok()?;
        if len > LARGEST || align > 1 {
            return Some(SpanRequest { class: EXACT, len, align });
        }
        let class = class_of(len);
        Some(SpanRequest { class: class as u16, len: len_of(class), align: 1 })
    }

    /// Whether a span that is out is what `request` would be given, as it is. Neither the request nor the
    /// settings may ask for it to be cleared first.
    pub(crate) fn suits(&self, span: &Span, request: &Request) -> bool {
        let as_is = request.is_plain() && self.config.scrub == Scrub::Never;
        let plain = as_is && request.align <= 1 << self.shift;
        let want = self.check(request).ok().and_then(|align| self.want(request.size, align));
        plain && want.is_some_and(|want| span.serves(want.class, want.len))
    }

    /// Takes the growth lock, once other threads have released it. `call` names the caller in the error.
    ///
    /// # Errors
    /// [`DeviceError::WithinCall`] if this thread holds the lock already, because the device has called back.
    pub(crate) fn lock_growth(&self, call: &'static str) -> Result<Holding<'_>, DeviceError> {
        self.growth.lock().ok_or(DeviceError::WithinCall { call })
    }

    /// Whether this thread is inside a call of the device that keeps others waiting.
    pub(crate) fn is_within_call(&self) -> bool {
        self.growth.is_held_here() || self.compactor.is_held_here()
    }

    /// Whether any span that is long enough will do, as it is.
    #[inline(always)]
    pub(crate) fn is_plain(&self, request: &Request) -> bool {
        let align = request.align;
        // An alignment that is not a power of two is refused on the miss, whatever is cached.
        let odd = align & align.wrapping_sub(1) != 0;
        !(align > 1 << self.shift || odd || !request.is_plain() || self.quotas.cover(request.tag))
    }

    /// Granules that hold `size` bytes; `None` past what any heap can hold.
    pub(crate) fn granules(&self, size: u64) -> Option<u32> {
        u32::try_from((size.checked_sub(1)? >> self.shift) + 1).ok()
    }

    pub(crate) fn bytes(&self, granules: u64) -> u64 {
        granules << self.shift
    }

    /// What a thread may cache at the pool's present size, in granules.
    pub(crate) fn cache_limit(&self) -> u64 {
        const FLOOR: u64 = 4 << 20;
        const SHARE: u64 = 128;
        if self.config.scrub == Scrub::OnFree {
            // Freed memory is cleared and given back to its heap every time.
            return 0;
        }
        let share = (self.driver.reserved() / SHARE).max(FLOOR);
        share.min(self.config.thread_cache.max_bytes) >> self.shift
    }

    /// The largest class's bytes, for a granule of `1 << shift`.
    pub(crate) fn largest_class(config: &PoolConfig, shift: u32) -> u64 {
        if config.enabled { u64::from(size_class::LARGEST) << shift } else { 0 }
    }
}

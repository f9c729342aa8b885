//! The pool: it serves every request, nearly always without leaving the calling thread.
//!
//! ```text
//! handles                     what callers hold: queues, movable buffers, buffers that grow
//! background                  the pool's own thread, decay
//! path                        hit, miss, slow path, free, compaction
//! sizing                      fixed, growing and discrete heaps; trimming, purgeable heaps
//! core                        the state of a pool, and tools over it
//! in_flight  cache            timelines of queues; thread caches, the depot
//! heaps                       heaps, the spans cut from them, fallback buffers
//! accounting                  the device's calls, limits, quotas, counters
//! interface                   requests, call sites, errors, reports
//! ```
//!
//! A folder uses those below it. This layer owns policy: which heap serves, what is kept, when to grow, when
//! to fall back. It never knows which device it runs on, and calls it through [`accounting::device_calls`]
//! alone. docs/architecture.md walks through a request and names the order of the locks.

mod accounting;
mod background;
mod cache;
mod close;
mod core;
mod handles;
mod heaps;
mod in_flight;
mod interface;
mod open;
mod path;
#[cfg(all(test, shuttle))]
mod schedules;
mod sizing;
mod start_check;

pub use core::buffer::{Buffer, BufferMemory, Ticket};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use handles::movable::{MovableBuffer, PinnedBuffer};
pub use handles::queue::PoolQueue;
pub use interface::call_site::CallSite;
pub use interface::compaction::{CompactionBudget, CompactionReport};
pub use interface::error::{AllocError, CannotGrow, DeviceFailure, OutOfMemory, QuotaExceeded};
pub use interface::leak_report::{Leak, LeakReport};
pub use interface::pressure::Pressure;
pub use interface::request::{Request, Tag};
pub use interface::start_error::StartError;

use crate::config::{PoolConfig, Warning};
use crate::device::{Device, DeviceError, Queue};
use crate::fork::{Forked, Process};
use crate::pool::accounting::device_calls;
use crate::pool::background::decay;
use crate::pool::close::Handle;
use crate::pool::core::{Core, closing, figures, notes, queues};
use crate::pool::path::{allocate, hit};
use crate::pool::sizing::{purgeable, trim};
use crate::stats::Statistics;

/// A pool of device memory. Cheap to clone; all clones are the same pool. Any thread may use it.
///
/// A child by `fork` cannot use a pool that it inherited: see [`fork`](crate::fork). Calls that can fail
/// return [`Forked`] there, figures are empty, and dropping a handle or a buffer changes nothing.
///
/// When the last clone is dropped the pool closes. If buffers are still alive, a leak report is logged, and
/// the memory goes back to the device with the last of them. The close waits for work in flight of queues
/// that are gone, up to five seconds. Dropping a buffer never waits.
///
/// The code that a pool calls (callbacks, subscribers to the log, devices, queues) may use it and may panic;
/// `docs/memory-in-flight.md` has the few exceptions. Signal handlers and global allocators must not use a
/// pool: they can run while their thread is inside its cache.
///
/// ```
/// use std::sync::Arc;
/// use warmheap::{Pool, PoolConfig, Request, device::host::HostDevice};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = PoolConfig::default();
/// config.heap_size = 8 << 20;
/// config.num_heaps = 1;
/// config.warmup_sizes = vec![4 << 20];
/// let pool = Pool::new(Arc::new(HostDevice::new()), config)?;
///
/// let weights = pool.allocate(3 << 20)?;
/// let cache = pool.allocate(Request::new(64 << 10).align(4096).zeroed().tag("kv-cache"))?;
/// assert_eq!(pool.statistics().active_allocations, 2);
/// drop((weights, cache));
/// assert_eq!(pool.statistics().hit_rate, 1.0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool {
    handle: Arc<Handle>,
}

impl Pool {
    /// Creates the pool's heaps on `device` and warms them.
    ///
    /// # Errors
    /// [`StartError`] names the heap that failed, what was asked and what was free. Heaps created before it
    /// are given back.
    pub fn new(device: Arc<dyn Device>, config: PoolConfig) -> Result<Self, StartError> {
        let shared = open::start(device, config)?;
        let maintainer = open::start_maintainer(&shared)?;
        let handle = Arc::new(Handle { shared, maintainer });
        Ok(Self { handle })
    }

    /// Checks that a pool with these settings can start on `device`, as far as that can be told without taking
    /// memory: all heaps together must fit what the device has, and the limits of the settings. A start makes
    /// the same check first. Returns what is probably not meant, as [`PoolConfig::warnings`] and the device
    /// have it.
    ///
    /// ```
    /// use warmheap::device::host::HostDevice;
    /// use warmheap::{Pool, PoolConfig};
    ///
    /// let small = HostDevice::with_budget(600 << 20);
    /// let error = Pool::check(&small, &PoolConfig::default()).unwrap_err();
    /// assert!(error.to_string().ends_with("2 heaps of 128 MiB would fit"));
    /// ```
    ///
    /// # Errors
    /// Those of [`Pool::new`].
    pub fn check(device: &dyn Device, config: &PoolConfig) -> Result<Vec<Warning>, StartError> {
        let limits = device_calls::limits(device).map_err(|source| StartError::Device { source })?;
        start_check::check(&limits, config)
    }

    /// Serves a request: from the calling thread's cache, from a heap, from a heap that grows, or straight
    /// from the device. The request is a number of bytes, or a [`Request`] that says more. The pool keeps the
    /// caller's line for leak reports.
    ///
    /// # Errors
    /// [`AllocError::OutOfMemory`] if neither the heaps nor the device have the memory;
    /// [`AllocError::QuotaExceeded`] if the tag's quota is used up; [`AllocError::ZeroSize`] and
    /// [`AllocError::BadAlignment`] for requests that make no sense; [`AllocError::WouldBlock`] for those
    /// that may not wait; [`AllocError::Device`] if the device cannot clear the buffer;
    /// [`AllocError::Forked`] in a child by `fork`. Nothing has changed then.
    #[track_caller]
    // Inlining is forced: the hit, some sixty instructions, belongs in the caller, but the size of the
    // function makes the compiler decide otherwise.
    #[inline(always)]
    pub fn allocate(&self, request: impl Into<Request>) -> Result<Buffer, AllocError> {
        let request = request.into();
        let (core, site) = (&*self.handle.shared, request.site());
        // Each way makes its own buffer, so that on the first one nothing passes through memory.
        if let Some(span) = hit::hit(core, &request, site) {
            return Ok(Buffer::new(core, span, request.size));
        }
        if let Some(span) = hit::cut_at_once(core, &request, site) {
            return Ok(Buffer::new(core, span, request.size));
        }
        // The copy makes the compiler put the request into memory on this way only.
        let span = allocate::serve(core, &{ request }, site)?;
        Ok(Buffer::new(core, span, request.size))
    }

    /// Registers one of the device's queues with the pool. Buffers can then wait for its work, and the pool
    /// polls it when memory is short.
    #[must_use]
    pub fn queue(&self, queue: Arc<dyn Queue>) -> PoolQueue {
        let queue = PoolQueue::new(self.clone(), queue);
        if let Ok(shared) = self.here() {
            queues::watch(shared, queue.timeline());
        }
        queue
    }

    /// Runs `work`, and then writes the lines for the log that it noted.
    fn and_speak<R>(&self, work: impl FnOnce(&Core) -> R) -> R {
        let done = work(self.shared());
        notes::speak(self.shared());
        done
    }

    pub(crate) fn shared(&self) -> &Arc<Core> {
        &self.handle.shared
    }

    /// The process that created the pool, and the only one that can use it.
    #[must_use]
    pub fn process(&self) -> Process {
        self.handle.shared.process
    }

    /// The pool, unless this process has inherited it.
    fn here(&self) -> Result<&Core, Forked> {
        self.process().check().map(|()| &**self.shared())
    }

    /// A snapshot of the pool's statistics.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.here().map(figures::statistics).unwrap_or_default()
    }

    /// Zeroes the counters. Gauges (heaps, live buffers, capacity) keep their values, and peaks start from
    /// them.
    pub fn reset_statistics(&self) {
        if let Ok(shared) = self.here() {
            figures::reset_statistics(shared);
        }
    }

    /// Gives free memory back to the device until at most `target` bytes are held, or nothing more can go; 0
    /// asks for all that is free. Returns the bytes given back.
    ///
    /// Buffers whose work has completed are freed first. Thread caches are given up if the rest is not
    /// enough. Of fixed heaps, those beyond the configured `num_heaps` can go, where no buffer uses them. Any
    /// thread may call it, also while other threads allocate.
    ///
    /// # Errors
    /// The device's error, when it does not take memory back; the pool is as usable as before.
    pub fn trim(&self, target: u64) -> Result<u64, DeviceError> {
        self.here()?;
        self.and_speak(|shared| trim::trim(shared, target))
    }

    /// Gives back memory that no request has needed for about as long as `idle`, a little at each call, and
    /// frees what queues have completed. Returns the time until the next call is due: a twelfth of `idle` or
    /// less. Calls before that do nothing, and later calls only delay the effect.
    ///
    /// For programs that have a thread for such things. With the setting `trim_after` the pool has one of its
    /// own. The call waits for no thread that allocates, and any thread may make it. Do not call it while a
    /// GPU's work is being captured, if the device's calls are not allowed then.
    ///
    /// # Errors
    /// The device's error, when it does not take memory back; the pool is as usable as before.
    pub fn maintain(&self, idle: Duration) -> Result<Duration, DeviceError> {
        self.here()?;
        self.and_speak(|shared| decay::tick(shared, idle))
    }

    /// Makes heaps without buffers purgeable, and gives up thread caches for that: the system may take their
    /// memory until requests need those heaps again. Returns the bytes of those heaps. For an engine that
    /// goes idle and may not be asked again: it keeps its heaps, and other programs can use their pages.
    ///
    /// A purgeable heap still counts as held. When no other heap can serve a request, the pool takes it back
    /// into use, which costs one device call and perhaps new pages. The pool destroys it when the device has
    /// no memory or objects for anything else. Work on the GPU must be done with every buffer that was
    /// dropped. Retired buffers wait for their work by themselves.
    ///
    /// On devices without such a state (see [`Memory::set_volatile`](crate::device::Memory::set_volatile))
    /// and for heaps that grow in place, which [`Pool::trim`] empties, nothing happens and the result is 0.
    ///
    /// # Errors
    /// The device's error; the pool is as usable as before.
    pub fn make_purgeable(&self) -> Result<u64, DeviceError> {
        self.here()?;
        self.and_speak(purgeable::make_purgeable)
    }

    /// The settings that the pool was made with.
    #[must_use]
    pub fn config(&self) -> &PoolConfig {
        &self.handle.shared.config
    }

    /// The device that the pool's memory comes from.
    #[must_use]
    pub fn device(&self) -> &Arc<dyn Device> {
        self.handle.shared.driver.device()
    }

    /// Registers a memory-pressure callback. The pool calls it when more is held than a soft limit says, and
    /// when a request is about to fail, which is then tried once more. A callback may free, allocate, trim
    /// and register others: no lock of the pool is held while it runs. It runs on the thread whose request
    /// met the pressure, never for a free, and is not called again from within itself. If it panics, that request has changed
    /// nothing, and the panic goes on to its caller.
    ///
    /// Callbacks stay until the last handle of the pool is dropped, and are dropped then. They may own
    /// buffers. A callback that keeps a `Pool` keeps it open: use the one that it is given.
    pub fn on_pressure(&self, callback: impl Fn(&Self, Pressure) + Send + Sync + 'static) {
        if let Ok(shared) = self.here() {
            let handle = Arc::downgrade(&self.handle);
            // A callback that held a handle would keep its own pool open.
            shared.callbacks.add(Arc::new(move |pressure| {
                if let Some(handle) = handle.upgrade() {
                    callback(&Self { handle }, pressure);
                }
            }));
        }
    }

    /// Sets or lifts (`None`) the most requested bytes that may be alive under `tag`, those in flight
    /// included. Buffers allocated before their tag first had a quota do not count.
    pub fn set_quota(&self, tag: impl Into<Tag>, quota: Option<u64>) {
        let tag = tag.into();
        if let Ok(shared) = self.here()
            && tag != Tag::NONE
        {
            shared.quotas.set(tag, quota);
        }
    }

    /// The quota of `tag` in bytes, and how much of it is used; `None` without one.
    #[must_use]
    pub fn quota(&self, tag: impl Into<Tag>) -> Option<(u64, u64)> {
        self.here().ok()?.quotas.get(tag.into())
    }

    /// Heaps and fallback buffers held from the device.
    #[must_use]
    pub fn reserved_objects(&self) -> u64 {
        self.handle.shared.driver.account().objects()
    }

    /// Bytes held from the device: heaps and fallback buffers.
    #[must_use]
    pub fn reserved_bytes(&self) -> u64 {
        self.handle.shared.driver.reserved()
    }

    /// The most bytes held from the device at once since the last reset of statistics.
    #[must_use]
    pub fn peak_reserved_bytes(&self) -> u64 {
        self.handle.shared.driver.account().peak_bytes()
    }

    /// Bytes of metadata kept for heaps and buffers, outside device memory.
    #[must_use]
    pub fn metadata_bytes(&self) -> usize {
        let Ok(Core { heaps, .. }) = self.here() else { return 0 };
        heaps.arenas().iter().map(|arena| arena.with(|open| open.metadata_bytes())).sum()
    }

    /// The buffers that are alive, with the call site of each.
    #[must_use]
    pub fn leaks(&self) -> LeakReport {
        if self.here().is_err() {
            return LeakReport::default();
        }
        self.and_speak(closing::leaks)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("device", &self.device().name())
            .field("config", self.config())
            .field("reserved_bytes", &self.reserved_bytes())
            .finish_non_exhaustive()
    }
}

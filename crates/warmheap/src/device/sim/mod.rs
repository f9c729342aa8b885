//! The simulated device: addresses without memory.
//!
//! ```
//! use std::sync::Arc;
//! use warmheap::config::{MIB, PoolConfig};
//! use warmheap::Pool;
//! use warmheap::device::sim::{Call, SimDevice};
//!
//! let sim = SimDevice::new();
//! let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic())?;
//! sim.fail(Call::Commit, 1); // growth fails once, so the device serves the request
//! assert!(pool.allocate(4 * MIB)?.is_fallback());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It tests policies without a GPU, and replays traces of any size on any machine. It can be elastic or
//! discrete, and can have a budget, limits, latencies and failures. It is strict. A call that a real driver
//! would leave undefined, such as committing twice or freeing what is not held, is an error here. A mistake
//! of the layers above therefore shows at once.

mod faults;
mod memory;
mod pages;
mod queue;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

pub use faults::Call;
use faults::Faults;
use memory::SimMemory;
pub use queue::SimQueue;

use super::memory::sensible;
use super::{Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory};

/// A device with no memory behind it. Clones share one device.
///
/// ```
/// use warmheap::device::{Device, sim::{Call, SimDevice}};
/// let sim = SimDevice::new().budget(1 << 30).discrete();
/// sim.fail(Call::Allocate, 2);
/// assert!(sim.allocate(4096, 256).is_ok());
/// assert!(sim.allocate(4096, 256).is_err());
/// assert_eq!(sim.live_bytes(), 0);
/// ```
#[derive(Debug, Clone)]
pub struct SimDevice {
    limits: DeviceLimits,
    state: Arc<State>,
}

/// The state that all memory of one simulated device shares.
#[derive(Debug)]
struct State {
    faults: Faults,
    /// The latency in nanoseconds.
    latency: AtomicU64,
    budget: AtomicU64,
    live: AtomicU64,
    peak: AtomicU64,
    objects: AtomicU64,
    peak_objects: AtomicU64,
    frees: AtomicU64,
    purgeable: AtomicBool,
    pressure: AtomicBool,
    volatile: AtomicU64,
    /// The next free address; addresses are never reused.
    next: AtomicU64,
}

impl Default for SimDevice {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDevice {
    /// Returns an elastic device with 256-byte alignment, 2 MiB granularity and no budget.
    #[must_use]
    pub fn new() -> Self {
        let limits = DeviceLimits {
            alignment: 256,
            granularity: 2 << 20,
            largest_heap: 1 << 40,
            largest_buffer: 1 << 40,
            budget: None,
            available: None,
            elastic: true,
            host_visible: false,
            zeroed: false,
        };
        let state = State {
            faults: Faults::default(),
            latency: AtomicU64::new(0),
            budget: AtomicU64::new(u64::MAX),
            live: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            objects: AtomicU64::new(0),
            peak_objects: AtomicU64::new(0),
            frees: AtomicU64::new(0),
            purgeable: AtomicBool::new(false),
            pressure: AtomicBool::new(false),
            volatile: AtomicU64::new(0),
            next: AtomicU64::new(1 << 41),
        };
        Self { limits, state: Arc::new(state) }
    }

    /// Makes a device whose heaps cannot grow in place.
    #[must_use]
    pub fn discrete(mut self) -> Self {
        self.limits.elastic = false;
        self
    }

    /// DeviceLimits the device to `bytes` at a time.
    #[must_use]
    pub fn budget(mut self, bytes: u64) -> Self {
        self.limits.budget = Some(bytes);
        self.state.budget.store(bytes, Relaxed);
        self
    }

    /// Makes a device whose memory can be volatile.
    #[must_use]
    pub fn purgeable(self) -> Self {
        self.state.purgeable.store(true, Relaxed);
        self
    }

    /// Sets the other fixed facts. The budget is kept.
    #[must_use]
    pub fn limits(mut self, limits: DeviceLimits) -> Self {
        self.limits = DeviceLimits { budget: self.limits.budget, ..limits };
        self
    }

    /// Makes every call, and every free, take at least this long from now on.
    pub fn set_latency(&self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.state.latency.store(nanoseconds, Relaxed);
    }

    /// Sets whether the system is short of memory. While it is, it takes volatile memory, which is `Lost`
    /// when it is claimed.
    pub fn set_pressure(&self, pressure: bool) {
        self.state.pressure.store(pressure, Relaxed);
    }

    /// Makes the `nth` call of this kind from now fail; 1 is the next. The others work.
    pub fn fail(&self, call: Call, nth: u64) {
        self.state.faults.fail(call, nth);
    }

    /// Makes every call of this kind fail until [`SimDevice::heal`].
    pub fn fail_always(&self, call: Call) {
        self.state.faults.fail_always(call);
    }

    /// Removes all injected failures.
    pub fn heal(&self) {
        self.state.faults.heal();
    }

    /// Returns how often this call was made, failures included.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.state.faults.calls(call)
    }

    /// Returns the bytes held: fixed heaps, committed pages and fallback buffers.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.state.live.load(Relaxed)
    }

    /// Returns the most bytes ever held at once.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.state.peak.load(Relaxed)
    }

    /// Returns the most heaps and fallback buffers ever held at once.
    #[must_use]
    pub fn peak_objects(&self) -> u64 {
        self.state.peak_objects.load(Relaxed)
    }

    /// Returns the number of heaps and fallback buffers given back so far.
    #[must_use]
    pub fn frees(&self) -> u64 {
        self.state.frees.load(Relaxed)
    }

    /// Returns the bytes that are volatile now.
    #[must_use]
    pub fn volatile_bytes(&self) -> u64 {
        self.state.volatile.load(Relaxed)
    }

    /// Returns the number of heaps and fallback buffers held.
    #[must_use]
    pub fn live_objects(&self) -> u64 {
        self.state.objects.load(Relaxed)
    }
}

impl State {
    /// Counts the call, waits for the set latency, and fails if a failure is injected.
    fn enter(&self, call: Call, bytes: u64) -> Result<(), DeviceError> {
        self.wait();
        self.faults.check(call, bytes)
    }

    /// Waits for the set latency.
    fn wait(&self) {
        let latency = self.latency.load(Relaxed);
        if latency > 0 {
            std::thread::sleep(Duration::from_nanos(latency));
        }
    }

    fn available(&self) -> Option<u64> {
        let budget = self.budget.load(Relaxed);
        (budget != u64::MAX).then(|| budget.saturating_sub(self.live.load(Relaxed)))
    }

    fn take(&self, bytes: u64) -> Result<(), DeviceError> {
        let budget = self.budget.load(Relaxed);
        let fits = |live: u64| live.checked_add(bytes).filter(|sum| *sum <= budget);
        match self.live.fetch_update(Relaxed, Relaxed, fits) {
            Ok(live) => {
                self.peak.fetch_max(live + bytes, Relaxed);
                Ok(())
            }
            Err(_) => Err(DeviceError::OutOfMemory { requested: bytes, available: self.available() }),
        }
    }

    /// Returns addresses that no object had before. A gap before and after each object exposes accesses past
    /// its ends.
    fn place(&self, size: u64, align: u64) -> Option<u64> {
        const GAP: u64 = 1 << 12;
        let place = |next: u64| next.checked_add(GAP)?.checked_next_multiple_of(align);
        let past = |next: u64| place(next)?.checked_add(size)?.checked_add(GAP);
        place(self.next.fetch_update(Relaxed, Relaxed, past).ok()?)
    }

    fn give(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Relaxed);
    }
}

impl SimDevice {
    fn memory(&self, size: u64, align: u64, kind: HeapKind) -> Result<Box<dyn Memory>, DeviceError> {
        let align = align.max(self.limits.granularity);
        if kind == HeapKind::Fixed {
            self.state.take(size)?;
        }
        let Some(address) = self.state.place(size, align) else {
            if kind == HeapKind::Fixed {
                self.state.give(size);
            }
            let reason = format!("no address is left for {size} bytes at a multiple of {align}");
            return Err(DeviceError::Failed { call: "place", reason });
        };
        Ok(Box::new(SimMemory::new(Arc::clone(&self.state), address, size, kind, self.limits.granularity)))
    }
}

impl Device for SimDevice {
    fn name(&self) -> &str {
        "sim"
    }

    fn limits(&self) -> DeviceLimits {
        DeviceLimits { available: self.state.available(), ..self.limits }
    }

    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError> {
        sensible(request.size, self.limits.granularity)?;
        self.state.enter(Call::CreateHeap, request.size)?;
        if request.kind == HeapKind::Elastic && !self.limits.elastic {
            return Err(DeviceError::Unsupported { what: "heaps that grow in place" });
        }
        let largest = self.limits.largest_heap;
        if request.size > largest {
            return Err(DeviceError::TooLarge { requested: request.size, largest });
        }
        self.memory(request.size, self.limits.granularity, request.kind)
    }

    fn allocate(&self, size: u64, align: u64) -> Result<Box<dyn Memory>, DeviceError> {
        sensible(size, align)?;
        self.state.enter(Call::Allocate, size)?;
        let largest = self.limits.largest_buffer;
        if size > largest {
            return Err(DeviceError::TooLarge { requested: size, largest });
        }
        self.memory(size, align, HeapKind::Fixed)
    }
}

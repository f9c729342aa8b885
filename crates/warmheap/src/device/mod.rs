//! Devices: the sources of memory.
//!
//! ```
//! use warmheap::device::{Device, Spec};
//!
//! let device = "sim:budget=64".parse::<Spec>()?.open()?;
//! assert_eq!(device.limits().budget, Some(64 << 20));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This layer creates, commits, fills and destroys memory, and states the few facts that a pool must know
//! first ([`DeviceLimits`]). A device never decides *when*: it has no caching, no retry, no statistics and no
//! policy. The layers above call only [`Device`] and [`Memory`]. A new backend is one folder here that passes
//! `warmheap_testing::conformance`, and nothing else changes.
//!
//! | device | feature | memory |
//! |---|---|---|
//! | [`host`] | always | mapped pages of this process |
//! | `cuda` | `cuda` | NVIDIA GPUs; the driver is loaded at run time |
//! | `metal` | `metal`, on Apple systems | MTLHeaps of a GPU |
//! | [`sim`] | always | none: addresses only, with limits, latencies and failures to order |
//!
//! A queue belongs to its device. [`WorkerQueue`] serves `host` and `sim`. [`sim::SimQueue`] is only its
//! counter.

#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
pub mod host;
mod memory;
#[cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]
pub mod metal;
mod queue;
pub mod sim;
mod spec;
mod worker;

pub use error::DeviceError;
pub use memory::{Contents, HeapKind, HeapRequest, Memory};
pub use queue::Queue;
pub use spec::{Spec, SpecError};
pub use worker::WorkerQueue;

/// A source of memory: a GPU, this process's address space, or a simulation of one.
///
/// Any thread may call at any time. The pool assumes that every call is expensive (tens of microseconds), so
/// its statistics count each of them.
///
/// A pool makes some calls with others waiting for them. Methods, and the destructors of what they return,
/// may use that pool all the same: what would wait for the call that is being made fails with
/// [`DeviceError::WithinCall`]. They must not wait for another thread that uses the pool. A method that
/// panics has failed.
///
/// A device is complete when it passes `warmheap_testing::conformance::run`.
pub trait Device: std::fmt::Debug + Send + Sync {
    /// Returns a short name for people: `host`, `sim`, `metal: Apple M3`.
    fn name(&self) -> &str;

    /// Returns what the device can give. The implementation may cache fixed facts, but reads the budget
    /// afresh at each call.
    fn limits(&self) -> DeviceLimits;

    /// Creates a heap.
    ///
    /// # Errors
    /// Returns [`DeviceError::OutOfMemory`] with the requested and the free bytes, [`DeviceError::TooLarge`]
    /// past [`DeviceLimits::largest_heap`], [`DeviceError::Unsupported`] for a [`HeapKind`] that the device lacks,
    /// and [`DeviceError::BadRequest`] for a heap of no bytes. A failed call takes nothing.
    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError>;

    /// Allocates one buffer straight from the device, as the pool's fallback.
    ///
    /// `size` is in bytes, at least 1. `align` is a power of two. The memory is uninitialised unless
    /// [`DeviceLimits::zeroed`] says otherwise.
    ///
    /// # Errors
    /// Returns the errors of [`Device::create_heap`], and [`DeviceError::BadRequest`] for a size of 0 or an
    /// alignment that is not a power of two. A failed call takes nothing.
    fn allocate(&self, size: u64, align: u64) -> Result<Box<dyn Memory>, DeviceError>;

    /// Returns how many driver objects are held and how many may be, on a device that limits their number
    /// (Metal allows a process about 499,000 resources).
    fn objects(&self) -> Option<ObjectCount> {
        None
    }

    /// Returns what bounds the memory that this process may take, on a device that knows of several bounds.
    /// The least of what they leave is [`DeviceLimits::available`].
    fn bounds(&self) -> Vec<Bound> {
        Vec::new()
    }
}

/// One bound on the memory that a process may take; see [`Device::bounds`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bound {
    /// What sets the bound: `machine`, `control group`, `RLIMIT_AS`.
    pub name: &'static str,
    /// The most bytes that may be in use, and the bytes that may still be taken; `None` if no bound is set.
    pub bytes: Option<BoundBytes>,
}

/// The figures of a [`Bound`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BoundBytes {
    /// The most bytes that may be in use.
    pub limit: u64,
    /// The bytes that may still be taken now.
    pub free: u64,
}

/// The driver objects of a device; see [`Device::objects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectCount {
    /// Objects held now.
    pub live: u64,
    /// The most that may be held at once.
    pub limit: u64,
}

/// The limits of a device, in bytes. A device begins with [`DeviceLimits::new`] and sets the other fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceLimits {
    /// The alignment of every range of a heap, at its start and its end; a power of two.
    pub alignment: u64,
    /// The step in which elastic heaps are committed and decommitted; a power of two.
    pub granularity: u64,
    /// The largest heap [`Device::create_heap`] can make.
    pub largest_heap: u64,
    /// The largest single buffer.
    pub largest_buffer: u64,
    /// The bytes that this process should not exceed on the device; `None` if the device names no figure.
    pub budget: Option<u64>,
    /// The bytes free right now; `None` if the device cannot tell.
    pub available: Option<u64>,
    /// Whether heaps can be [`HeapKind::Elastic`]: reserved once, then committed and decommitted in place.
    pub elastic: bool,
    /// Whether the CPU can read and write the memory at [`Memory::host_ptr`].
    pub host_visible: bool,
    /// Whether fresh memory from the device reads as zero.
    pub zeroed: bool,
}

impl DeviceLimits {
    /// The limits of a device with heaps that cannot grow, whose memory the CPU does not see. `alignment` is
    /// also the granularity. Nothing else is bounded.
    ///
    /// ```
    /// use warmheap::device::DeviceLimits;
    /// let mut limits = DeviceLimits::new(256);
    /// limits.largest_heap = 1 << 30;
    /// limits.host_visible = true;
    /// assert!(!limits.elastic);
    /// ```
    #[must_use]
    pub const fn new(alignment: u64) -> Self {
        Self {
            alignment,
            granularity: alignment,
            largest_heap: u64::MAX,
            largest_buffer: u64::MAX,
            budget: None,
            available: None,
            elastic: false,
            host_visible: false,
            zeroed: false,
        }
    }
}

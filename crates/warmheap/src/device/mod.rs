//! Devices: where memory comes from.
//!
//! This layer owns the words "create", "commit", "fill" and "destroy", and the few facts a pool
//! must know before it asks ([`Limits`]). A device never decides *when*: no caching, no retry, no
//! statistics, no policy. Everything above it talks to [`Device`] and [`Memory`] alone, so that a
//! new backend is one folder here and a run of `warmheap_testing::conformance`, and nothing else changes.
//!
//! | device | feature | memory |
//! |---|---|---|
//! | [`host`] | always | mapped pages of this process |
//! | `cuda` | `cuda` | NVIDIA GPUs; the driver is loaded at run time |
//! | `metal` | `metal`, on Apple systems | MTLHeaps of a GPU |
//! | [`sim`] | always | none: addresses only, with limits, latencies and failures to order |
//!
//! Queues are of their devices too; [`WorkerQueue`] serves `host` and `sim`, and [`sim::SimQueue`] is
//! its counter alone.

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
pub use spec::Spec;
pub use worker::WorkerQueue;

/// A source of memory: a GPU, this process's address space, or a simulation of one.
///
/// Calls may come from any thread at any time. Every call is assumed dear (tens of microseconds),
/// so the pool counts each of them in its statistics.
///
/// A device is done when `warmheap_testing::conformance::run` passes on it.
pub trait Device: std::fmt::Debug + Send + Sync {
    /// A short name for people: `host`, `sim`, `metal: Apple M3`.
    fn name(&self) -> &str;

    /// What the device can give. Fixed facts may be cached by the implementation; the budget is
    /// read afresh at each call.
    fn limits(&self) -> Limits;

    /// Creates a heap.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] with asked and free bytes; [`DeviceError::TooLarge`] past
    /// [`Limits::largest_heap`]; [`DeviceError::Unsupported`] for a [`HeapKind`] the device lacks;
    /// [`DeviceError::BadRequest`] for a heap of no bytes. A failed call takes nothing.
    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError>;

    /// Allocates one buffer straight from the device: the pool's fallback.
    ///
    /// `size` is in bytes, at least 1; `align` is a power of two. The memory is uninitialised
    /// unless [`Limits::zeroed`] says otherwise.
    ///
    /// # Errors
    /// As [`Device::create_heap`], and [`DeviceError::BadRequest`] for a size of 0 or an alignment that
    /// is not a power of two. A failed call takes nothing.
    fn allocate(&self, size: u64, align: u64) -> Result<Box<dyn Memory>, DeviceError>;

    /// How many driver objects are held and how many may be, where objects are scarce beside bytes
    /// (Metal allows a process about 499,000 resources).
    fn objects(&self) -> Option<ObjectCount> {
        None
    }
}

/// Driver objects of a device: see [`Device::objects`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectCount {
    /// Objects held now.
    pub live: u64,
    /// The most that may be held at once.
    pub limit: u64,
}

/// What a device can give, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Every range handed out of a heap starts and ends on a multiple of this; a power of two.
    pub alignment: u64,
    /// The step in which elastic heaps are committed and decommitted; a power of two.
    pub granularity: u64,
    /// The largest heap [`Device::create_heap`] can make.
    pub largest_heap: u64,
    /// The largest single buffer.
    pub largest_buffer: u64,
    /// Bytes this process should not exceed on the device, where the device names a figure.
    pub budget: Option<u64>,
    /// Bytes free right now, where the device can tell.
    pub available: Option<u64>,
    /// Heaps can be [`HeapKind::Elastic`]: reserved once, committed and decommitted in place.
    pub elastic: bool,
    /// The CPU can read and write the memory at [`Memory::host`].
    pub host_visible: bool,
    /// Fresh memory from the device reads as zero.
    pub zeroed: bool,
}

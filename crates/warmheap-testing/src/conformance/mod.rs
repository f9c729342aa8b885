//! The rules for devices, as checks that any program can run.
//!
//! A backend is complete when it passes [`run`]. The layers above need no tests on it first. The checks use
//! only [`Device`] and [`Memory`], take tens of MiB for some milliseconds, and give back all they took. They
//! do not judge speed, and they never panic. A device that breaks a rule, or panics itself, yields a
//! [`Failure`] that names the rule and the observation.
//!
//! ```
//! use warmheap::device::host::HostDevice;
//! use warmheap_testing::conformance;
//! conformance::run(&HostDevice::new())?;
//! # Ok::<(), conformance::Failures>(())
//! ```

mod bounds;
mod buffers;
mod bytes;
mod copies;
mod heaps;
mod limits;
mod threads;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use warmheap::device::{Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory};

/// A rule for devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// Limits are powers of two where they must be. They are consistent, and do not change from call to call.
    Limits,
    /// A fixed heap has the requested size and starts on the device's alignment. It refuses to be committed,
    /// and can be created again after it was dropped.
    FixedHeap,
    /// An elastic heap commits, decommits and commits again. Neighbouring parts keep their contents. A device
    /// without elastic heaps says so.
    ElasticHeap,
    /// Fallback buffers of odd sizes start on every requested alignment.
    Fallback,
    /// Warming succeeds on all of a heap and on part of it, any number of times.
    Warm,
    /// A fill sets every byte of its range and no other. If the CPU cannot access the memory, the check is
    /// only that the fill succeeds.
    Fill,
    /// A copy transfers every byte of its range and touches no other, between heaps, within one and from
    /// fallback buffers. A device that cannot copy says so.
    Copy,
    /// Memory is zeroed if the limits say so, also where an earlier holder wrote.
    Zeroed,
    /// A request of more than the limits allow in one piece is refused as
    /// [`TooLarge`](DeviceError::TooLarge), with the figures.
    TooLarge,
    /// A request of more than the device has is refused as [`OutOfMemory`](DeviceError::OutOfMemory).
    /// Refusals lose nothing.
    OutOfMemory,
    /// Every call refuses a range that is not inside the memory as [`OutOfRange`](DeviceError::OutOfRange),
    /// and writes nothing. Sizes of 0 and alignments that are no power of two are refused as
    /// [`BadRequest`](DeviceError::BadRequest). Copies from memory of another device are refused as
    /// [`ForeignMemory`](DeviceError::ForeignMemory).
    Bounds,
    /// Live heaps and buffers never overlap.
    Disjoint,
    /// Calls from several threads at once work, on one heap too. A thread may free memory that another thread
    /// took.
    Threads,
}

impl Check {
    /// All checks, in the order in which [`run`] makes them.
    pub const ALL: [Self; 13] = [
        Self::Limits,
        Self::FixedHeap,
        Self::ElasticHeap,
        Self::Fallback,
        Self::Warm,
        Self::Fill,
        Self::Copy,
        Self::Zeroed,
        Self::TooLarge,
        Self::OutOfMemory,
        Self::Bounds,
        Self::Disjoint,
        Self::Threads,
    ];

    /// Makes only this check.
    ///
    /// # Errors
    /// Returns a [`Failure`] with the observation. A panic of the device is caught and becomes one, too.
    pub fn run(self, device: &dyn Device) -> Result<(), Failure> {
        let check = match self {
            Self::Limits => limits::sane,
            Self::FixedHeap => heaps::fixed,
            Self::ElasticHeap => heaps::elastic,
            Self::Fallback => buffers::fallback,
            Self::Warm => heaps::warm,
            Self::Fill => heaps::fill,
            Self::Copy => copies::copy,
            Self::Zeroed => buffers::zeroed,
            Self::TooLarge => limits::too_large,
            Self::OutOfMemory => limits::out_of_memory,
            Self::Bounds => bounds::kept,
            Self::Disjoint => buffers::disjoint,
            Self::Threads => threads::concurrent,
        };
        let answer = catch_unwind(AssertUnwindSafe(|| check(device)));
        let seen = match answer {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(seen)) => seen,
            Err(panic) => format!("the device panicked: {}", words(&*panic)),
        };
        Err(Failure { check: self, seen })
    }
}

/// Makes every check and reports all that fail.
///
/// # Errors
/// Returns [`Failures`], in the order of [`Check::ALL`].
pub fn run(device: &dyn Device) -> Result<(), Failures> {
    let failures: Vec<_> = Check::ALL.into_iter().filter_map(|check| check.run(device).err()).collect();
    if failures.is_empty() { Ok(()) } else { Err(Failures { device: device.name().to_owned(), failures }) }
}

/// One rule that a device broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{check:?}: {seen}")]
#[non_exhaustive]
pub struct Failure {
    /// The rule.
    pub check: Check,
    /// The action, the expectation and the observation.
    pub seen: String,
}

/// The rules that a device broke.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failures {
    /// The device's name.
    pub device: String,
    /// The failures, at least one.
    pub failures: Vec<Failure>,
}

impl std::error::Error for Failures {}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, failures } = self;
        write!(f, "device {device:?} fails {} of {} checks", failures.len(), Check::ALL.len())?;
        failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

/// `Ok`, or the observation that breaks the rule.
type Verdict = Result<(), String>;

/// Returns the given message as an error unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($words:tt)+) => {
        if !$holds {
            return Err(format!($($words)+));
        }
    };
}
use ensure;

/// Returns a panic's message.
fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Adds the action to an error that the device returned.
fn during<T>(what: impl fmt::Display, answer: Result<T, DeviceError>) -> Result<T, String> {
    answer.map_err(|error| format!("{what}: {error}"))
}

/// Returns the size of the heaps that checks create: some of the device's steps, and at least 1 MiB.
fn heap_size(limits: &DeviceLimits) -> u64 {
    let step = limits.granularity.max(limits.alignment);
    (4 * step).max(1 << 20).min(limits.largest_heap / step * step)
}

fn heap(device: &dyn Device, size: u64, kind: HeapKind) -> Result<Box<dyn Memory>, String> {
    let request = HeapRequest::new(size, kind, "conformance");
    during(format_args!("creating a {kind:?} heap of {size} bytes"), device.create_heap(&request))
}

fn buffer(device: &dyn Device, size: u64, align: u64) -> Result<Box<dyn Memory>, String> {
    let what = format_args!("allocating {size} bytes at a multiple of {align}");
    during(what, device.allocate(size, align))
}

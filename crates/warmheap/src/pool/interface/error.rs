//! The errors that a pool returns instead of a buffer. Every error says what was short, with numbers, and what
//! helps. The details are behind a pointer, so that a `Result` with a buffer stays in registers. This module
//! must never change the pool.
#![forbid(unsafe_code)]

use std::fmt;
use std::time::Duration;

use crate::config::MIB;
use crate::device::DeviceError;
use crate::fork::Forked;
use crate::pool::interface::cold_box::ColdBox;
use crate::pool::interface::request::Tag;

/// Why the pool did not serve a request. Nothing has changed: the pool serves the next request as if this one
/// had not been made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// The request was for a buffer of no bytes.
    #[error("a buffer of 0 bytes was asked for; the smallest is 1 byte")]
    ZeroSize,
    /// The alignment is not a power of two.
    #[error("an alignment of {align} bytes was asked for; it must be a power of two")]
    BadAlignment {
        /// The alignment in the request.
        align: u64,
    },
    /// The request was [non-blocking](crate::Request::non_blocking), and only a device call or another thread
    /// could have served it. This says nothing about how much memory there is.
    #[error("the request may not wait, and neither this thread's cache nor a heap at rest could serve it")]
    WouldBlock,
    /// The request's tag has a quota, and this request would pass it.
    #[error(transparent)]
    QuotaExceeded(QuotaExceeded),
    /// Neither the heaps nor the device have the memory.
    #[error(transparent)]
    OutOfMemory(OutOfMemory),
    /// A buffer cannot be made longer where it is.
    #[error(transparent)]
    CannotGrow(CannotGrow),
    /// The pool belongs to a parent process, of which this one is a fork.
    #[error(transparent)]
    Forked(#[from] Forked),
    /// The device failed while it prepared the buffer, for example while it cleared it. The memory has been
    /// given back.
    #[error(transparent)]
    Device(DeviceFailure),
}

/// What was short, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfMemory(ColdBox<Shortage>);

/// The fields of [`OutOfMemory`], as its methods describe them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) requested: u64,
    pub(crate) free: u64,
    pub(crate) largest_free: u64,
    pub(crate) reserved: u64,
    pub(crate) in_flight: u64,
    pub(crate) waited: Duration,
    pub(crate) limit: Option<u64>,
    pub(crate) device: Option<DeviceError>,
}

impl OutOfMemory {
    pub(crate) fn new(shortage: Shortage) -> Self {
        Self(ColdBox::new(shortage))
    }

    /// The bytes in the request.
    #[must_use]
    pub fn requested(&self) -> u64 {
        self.0.requested
    }

    /// The free bytes in all heaps together.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.0.free
    }

    /// The longest free block of any heap, in bytes.
    #[must_use]
    pub fn largest_free(&self) -> u64 {
        self.0.largest_free
    }

    /// The bytes held from the device.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        self.0.reserved
    }

    /// The requested bytes that are freed once queues have completed their work.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.0.in_flight
    }

    /// How long the request waited for the bytes in flight.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.0.waited
    }

    /// The most bytes that the settings allow the pool to hold.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.0.limit
    }

    /// The device's error in the fallback; `None` if the request ruled fallback out.
    #[must_use]
    pub fn device(&self) -> Option<&DeviceError> {
        self.0.device.as_ref()
    }

    /// What would help.
    fn remedy(&self) -> &'static str {
        if self.free() >= self.requested() {
            "; the free memory is in pieces: compact it, or use larger heaps"
        } else if self.in_flight() > 0 && self.free() + self.in_flight() >= self.requested() {
            "; let the request wait for the work in flight (wait_ms), or poll the queues earlier"
        } else if matches!(self.device(), Some(DeviceError::PastLimit { .. })) {
            "; free buffers, or raise the limit"
        } else {
            "; free buffers, or raise heap_size_mb or num_heaps"
        }
    }
}

impl std::error::Error for OutOfMemory {}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage { requested, free, largest_free, reserved, in_flight, waited, limit, device } = &*self.0;
        write!(
            f,
            "out of memory: {} requested; {} are held from the device",
            Bytes(*requested),
            Bytes(*reserved)
        )?;
        if let Some(limit) = limit {
            write!(f, " of {} allowed", Bytes(*limit))?;
        }
        write!(f, ", {} of the heaps are free, the largest block {}", Bytes(*free), Bytes(*largest_free))?;
        if *in_flight > 0 {
            write!(f, ", and {} wait for work in flight", Bytes(*in_flight))?;
        }
        if !waited.is_zero() {
            write!(f, "; waited {} ms", waited.as_millis())?;
        }
        match device {
            Some(error) => write!(f, "; the device was asked too: {error}")?,
            None => write!(f, "; fallback to the device was ruled out")?,
        }
        f.write_str(self.remedy())
    }
}

/// Which quota the request would pass, and by how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaExceeded(ColdBox<PastQuota>);

/// The fields of [`QuotaExceeded`], as its methods describe them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PastQuota {
    pub(crate) tag: Tag,
    pub(crate) quota: u64,
    pub(crate) used: u64,
    pub(crate) requested: u64,
}

impl QuotaExceeded {
    pub(crate) fn new(past: PastQuota) -> Self {
        Self(ColdBox::new(past))
    }

    /// The tag.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.0.tag
    }

    /// The most requested bytes that may be alive under the tag.
    #[must_use]
    pub fn quota(&self) -> u64 {
        self.0.quota
    }

    /// How many are alive. The figure includes the bytes that other requests are asking for at this moment.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used
    }

    /// The bytes in the request.
    #[must_use]
    pub fn requested(&self) -> u64 {
        self.0.requested
    }
}

impl std::error::Error for QuotaExceeded {}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PastQuota { tag, quota, used, requested } = &*self.0;
        write!(
            f,
            "{} requested under the tag {:?}, whose quota is {}, of which {} are used; free buffers of that \
             tag, or raise its quota",
            Bytes(*requested),
            tag.name(),
            Bytes(*quota),
            Bytes(*used)
        )
    }
}

/// Why a buffer could not be made longer where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CannotGrow(ColdBox<NoRoom>);

/// The fields of [`CannotGrow`], as its methods describe them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoRoom {
    pub(crate) size: u64,
    pub(crate) requested: u64,
    pub(crate) device: Option<DeviceError>,
}

impl CannotGrow {
    pub(crate) fn new(no_room: NoRoom) -> Self {
        Self(ColdBox::new(no_room))
    }

    /// The bytes that the buffer has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// The bytes that it was to have.
    #[must_use]
    pub fn requested(&self) -> u64 {
        self.0.requested
    }

    /// The device's error, if it was asked for more memory.
    #[must_use]
    pub fn device(&self) -> Option<&DeviceError> {
        self.0.device.as_ref()
    }
}

impl std::error::Error for CannotGrow {}

impl fmt::Display for CannotGrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoRoom { size, requested, device } = &*self.0;
        write!(f, "a buffer of {size} bytes has no room behind it for {requested}")?;
        if let Some(error) = device {
            write!(f, " ({error})")?;
        }
        f.write_str("; ask for room with Request::growable, or let it move")
    }
}

/// The device's error, when it could not prepare a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFailure(ColdBox<DeviceError>);

impl DeviceFailure {
    pub(crate) fn new(error: DeviceError) -> Self {
        Self(ColdBox::new(error))
    }

    /// What the device said.
    #[must_use]
    pub fn error(&self) -> &DeviceError {
        &self.0
    }
}

impl std::error::Error for DeviceFailure {}

impl fmt::Display for DeviceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a buffer could not be prepared: {}", *self.0)
    }
}

/// Bytes as people read them. Few bytes are not rounded to 0.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 | MIB.. => write!(f, "{:.1} MiB", self.0 as f64 / MIB as f64),
            1..1024 => write!(f, "{} bytes", self.0),
            _ => write!(f, "{:.1} KiB", self.0 as f64 / 1024.0),
        }
    }
}

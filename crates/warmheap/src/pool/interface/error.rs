//! The errors that a pool returns instead of a buffer, or instead of itself. Every error says what was short,
//! with numbers, and what helps. This module must never change the pool.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::config::{ConfigError, MIB};
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
    /// The request's tag has a quota, and this request would pass it.
    #[error(transparent)]
    QuotaExceeded(ColdBox<QuotaExceeded>),
    /// Neither the heaps nor the device have the memory.
    #[error(transparent)]
    OutOfMemory(ColdBox<OutOfMemory>),
    /// A buffer cannot be made longer where it is.
    #[error(
        "a buffer of {size} bytes has no room behind it for {requested}{}; ask for room with \
         Request::growable, or let it move",
        .device.as_ref().map(|error| format!(" ({error})")).unwrap_or_default()
    )]
    CannotGrow {
        /// The bytes it has.
        size: u64,
        /// The bytes it was to have.
        requested: u64,
        /// The device's error, if it was asked for more memory.
        device: Option<ColdBox<DeviceError>>,
    },
    /// The pool belongs to a parent process, of which this one is a fork.
    #[error(transparent)]
    Forked(#[from] Forked),
    /// The device failed while it prepared the buffer, for example while it cleared it. The memory has been
    /// given back.
    #[error("a buffer could not be prepared: {0}")]
    Device(ColdBox<DeviceError>),
}

/// What was short, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutOfMemory {
    /// The bytes in the request.
    pub requested: u64,
    /// The free bytes in all heaps together.
    pub free: u64,
    /// The longest free block of any heap.
    pub largest_free: u64,
    /// The bytes held from the device.
    pub reserved: u64,
    /// The requested bytes that are freed once queues have completed their work.
    pub in_flight: u64,
    /// How long the request waited for the bytes in flight.
    pub waited: Duration,
    /// The most bytes that the settings allow the pool to hold.
    pub limit: Option<u64>,
    /// The device's error in the fallback; `None` if the request ruled fallback out.
    pub device: Option<DeviceError>,
}

impl std::error::Error for OutOfMemory {}

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requested, free, largest_free, reserved, in_flight, waited, limit, device } = self;
        write!(
            f,
            "out of memory: {} requested; {} are held from the device",
            Mib(*requested),
            Mib(*reserved)
        )?;
        if let Some(limit) = limit {
            write!(f, " of {} allowed", Mib(*limit))?;
        }
        write!(f, ", {} of the heaps are free, the largest block {}", Mib(*free), Mib(*largest_free))?;
        if *in_flight > 0 {
            write!(f, ", and {} wait for work in flight", Mib(*in_flight))?;
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

impl OutOfMemory {
    /// What would help.
    fn remedy(&self) -> &'static str {
        if self.free >= self.requested {
            "; the free memory is in pieces: compact it, or use larger heaps"
        } else if self.in_flight > 0 && self.free + self.in_flight >= self.requested {
            "; let the request wait for the work in flight (wait_ms), or poll the queues earlier"
        } else if matches!(self.device, Some(DeviceError::PastLimit { .. })) {
            "; free buffers, or raise the limit"
        } else {
            "; free buffers, or raise heap_size_mb or num_heaps"
        }
    }
}

/// Which quota the request would pass, and by how much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} requested under the tag {:?}, whose quota is {}, of which {} are used; free buffers of that tag, or raise its quota",
    Mib(*.requested), .tag.name(), Mib(*.quota), Mib(*.used)
)]
#[non_exhaustive]
pub struct QuotaExceeded {
    /// The tag.
    pub tag: Tag,
    /// The most requested bytes that may be alive under it.
    pub quota: u64,
    /// How many are alive. The figure includes the bytes that other requests are asking for at this moment.
    pub used: u64,
    /// The bytes in the request.
    pub requested: u64,
}

/// Bytes as people read them.
struct Mib(u64);

impl std::fmt::Display for Mib {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / MIB as f64)
    }
}

/// Why a pool could not be made. Everything taken on the way has been given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The settings make no sense together.
    #[error(transparent)]
    Config(Box<ConfigError>),
    /// A heap could not be created.
    #[error(
        "failed to initialise the memory pool: heap {number} of {heaps} ({} MiB each) could not be created: \
         {source}; reduce heap_size_mb or num_heaps, or free memory",
        .size / MIB
    )]
    Heap {
        /// Which heap, counted from 1.
        number: usize,
        /// How many were to be made.
        heaps: usize,
        /// The bytes of each.
        size: u64,
        /// The device's error.
        source: DeviceError,
    },
    /// A heap was created but could not be warmed.
    #[error(
        "failed to warm heap {number} of {heaps} for buffers of {} MiB: {source}; reduce warmup_sizes, \
         heap_size_mb or num_heaps",
        .size / MIB
    )]
    WarmUp {
        /// Which heap, counted from 1.
        number: usize,
        /// How many there are.
        heaps: usize,
        /// The warm-up size in bytes.
        size: u64,
        /// The device's error.
        source: DeviceError,
    },
    /// A setting that this device or version cannot honour.
    #[error("{key}: {reason}")]
    Unsupported {
        /// The configuration key.
        key: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
}

//! What a pool answers instead of a buffer, or instead of itself.
#![forbid(unsafe_code)]

use crate::config::{ConfigError, MIB};
use crate::device::DeviceError;

/// Why a request was not answered. Nothing has changed: the next request is served as if this one
/// had not been made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// A buffer of no bytes was asked for.
    #[error("a buffer of 0 bytes was asked for; the smallest is 1 byte")]
    ZeroSize,
    /// The alignment is not a power of two.
    #[error("an alignment of {align} bytes was asked for; it must be a power of two")]
    BadAlignment {
        /// What was asked for.
        align: u64,
    },
    /// Neither the heaps nor the device have the memory. Boxed: errors travel on the hot path.
    #[error(transparent)]
    OutOfMemory(Box<OutOfMemory>),
    /// The device failed while the buffer was prepared (cleared, say). The memory is back.
    #[error("a buffer could not be prepared: {0}")]
    Device(Box<DeviceError>),
}

/// What was short, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub requested: u64,
    /// Free bytes in all heaps together.
    pub free: u64,
    /// The longest free block of any heap.
    pub largest_free: u64,
    /// Bytes held from the device.
    pub reserved: u64,
    /// The device's answer to the fallback; `None` if the request ruled fallback out.
    pub device: Option<DeviceError>,
}

impl std::error::Error for OutOfMemory {}

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / MIB as f64;
        write!(
            f,
            "out of memory: {:.1} MiB requested; the heaps hold {:.1} MiB, of which {:.1} MiB are free, \
             the largest block {:.1} MiB; ",
            mib(self.requested),
            mib(self.reserved),
            mib(self.free),
            mib(self.largest_free),
        )?;
        match &self.device {
            Some(error) => write!(f, "the device was asked too: {error}")?,
            None => write!(f, "fallback to the device was ruled out")?,
        }
        if self.free >= self.requested {
            write!(f, "; the free memory is in pieces: compact it, or use larger heaps")
        } else {
            write!(f, "; free buffers, or raise heap_size_mb or num_heaps")
        }
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
        /// Bytes of each.
        size: u64,
        /// The device's answer.
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
        /// The device's answer.
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

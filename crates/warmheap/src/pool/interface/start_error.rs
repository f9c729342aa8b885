//! Why a pool could not be made. Every error names the heap or the setting, with numbers, and what helps. This
//! module must never change the pool.
#![forbid(unsafe_code)]

use crate::config::{ConfigError, MIB};
use crate::device::DeviceError;

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

//! Why a pool could not be made. Every error names the heap or the setting, with numbers, and what helps. This
//! module must never change the pool.
#![forbid(unsafe_code)]

use crate::config::{ConfigError, leaves_room, mib, smaller};
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
         {}reduce heap_size_mb or num_heaps, or free memory{}",
        mib(*.size), reason(source), remedy(*.number, *.heaps, *.size, source)
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
        mib(*.size)
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
    /// The device cannot tell what it has.
    #[error("the device cannot tell its limits: {source}; report this defect of the device")]
    Device {
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

impl StartError {
    /// Returns the bytes of each heap and the number of heaps of a smaller pool that would fit, where the error
    /// tells how much does. The message names them, too.
    #[must_use]
    pub fn smaller(&self) -> Option<(u64, usize)> {
        match self {
            Self::Heap { number, heaps, size, source } => fitting(*number, *heaps, *size, source),
            _ => None,
        }
    }
}

fn fitting(number: usize, heaps: usize, size: u64, source: &DeviceError) -> Option<(u64, usize)> {
    let sum = |size: u64, heaps: usize| size.saturating_mul(heaps as u64);
    match *source {
        // What the earlier heaps took is free again when the start has failed.
        DeviceError::OutOfMemory { available: Some(free), .. } => {
            let free = free.saturating_add(sum(size, number.saturating_sub(1)));
            smaller(size, heaps, |size, heaps| leaves_room(sum(size, heaps), free))
        }
        DeviceError::PastLimit { key, limit, .. } if key.ends_with("_objects") => {
            let fewer = usize::try_from(limit).ok().filter(|fewer| (1..heaps).contains(fewer));
            fewer.map(|fewer| (size, fewer))
        }
        DeviceError::PastLimit { limit, .. } => smaller(size, heaps, |size, heaps| sum(size, heaps) <= limit),
        _ => None,
    }
}

/// The device's error without its own advice, which would say the same as the start's.
fn reason(source: &DeviceError) -> String {
    match source {
        DeviceError::OutOfMemory { requested, available } => {
            let free = available.map(|free| format!(", {free} free")).unwrap_or_default();
            format!("the device is out of memory: asked for {requested} bytes{free}; ")
        }
        DeviceError::PastLimit { .. } => {
            let words = source.to_string();
            format!("{}: raise it, or ", words.rsplit_once(": ").map_or(&*words, |(words, _)| words))
        }
        other => format!("{other}; "),
    }
}

/// Continues an error's message with the pool that would fit.
fn remedy(number: usize, heaps: usize, size: u64, source: &DeviceError) -> String {
    let Some((size, heaps)) = fitting(number, heaps, size, source) else { return String::new() };
    let plural = if heaps == 1 { "heap" } else { "heaps" };
    format!("; {heaps} {plural} of {} MiB would fit", mib(size))
}

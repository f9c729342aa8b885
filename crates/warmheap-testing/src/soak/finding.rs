//! The findings of a soak: promises that a pool did not keep.
#![forbid(unsafe_code)]

use warmheap::device::DeviceError;
use warmheap::{AllocError, StartError};

/// A finding, with what is needed to repeat it.
#[derive(Debug, thiserror::Error)]
#[error(
    "{finding}; found in round {round}: start with `--seed {seed}` to begin there, with the same settings"
)]
#[non_exhaustive]
pub struct Broken {
    /// The seed of the round.
    pub seed: u64,
    /// The number of the round, from 1.
    pub round: u64,
    /// What is wrong.
    pub finding: Finding,
}

/// A promise that a pool did not keep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// Two buffers share bytes.
    #[error(
        "a buffer of {size} bytes at {address:#x} overlaps a live one of {other_size} bytes at {other:#x}"
    )]
    Overlap {
        /// The newer buffer's address.
        address: u64,
        /// Its size in bytes.
        size: u64,
        /// The older buffer's address.
        other: u64,
        /// Its size in bytes.
        other_size: u64,
    },
    /// The pool handed out memory that a queue still uses.
    #[error(
        "a buffer of {size} bytes at {address:#x} was handed out while queue {queue} uses the memory: \
         its ticket is {ticket}, and the queue {} {reached}",
        if *lost { "was lost at" } else { "has reached" }
    )]
    Early {
        /// The buffer's address.
        address: u64,
        /// Its size in bytes.
        size: u64,
        /// The queue, counted through the round.
        queue: u64,
        /// The ticket that the memory waits for.
        ticket: u64,
        /// The value that the queue has reached.
        reached: u64,
        /// Whether the queue was lost there.
        lost: bool,
    },
    /// The pool moved a buffer while a queue used it.
    #[error(
        "a movable buffer of {size} bytes is at {to:#x}, and was at {from:#x} when queue {queue} was given \
         it, which uses it still: its ticket is {ticket}, and the queue {} {reached}",
        if *lost { "was lost at" } else { "has reached" }
    )]
    Moved {
        /// The address when the queue got it.
        from: u64,
        /// The address now.
        to: u64,
        /// Its size in bytes.
        size: u64,
        /// The queue, counted through the round.
        queue: u64,
        /// The ticket of the work.
        ticket: u64,
        /// The value that the queue has reached.
        reached: u64,
        /// Whether the queue was lost there.
        lost: bool,
    },
    /// A buffer has wrong contents.
    #[error("byte {offset} of a buffer of {size} bytes at {address:#x} {what}")]
    Contents {
        /// The buffer's address.
        address: u64,
        /// Its size in bytes.
        size: u64,
        /// Where.
        offset: u64,
        /// The kind of fault.
        what: &'static str,
    },
    /// The pool refused a request without a reason.
    #[error("a request for {size} bytes was refused though the device refused nothing: {error}")]
    Refused {
        /// The requested bytes.
        size: u64,
        /// The pool's error.
        error: AllocError,
    },
    /// The pool served a request with a buffer that does not fit it.
    #[error("a request for {size} bytes aligned to {align} got {found} bytes at {address:#x}")]
    Misfit {
        /// The requested bytes.
        size: u64,
        /// The requested alignment.
        align: u64,
        /// The bytes of the buffer.
        found: u64,
        /// Where.
        address: u64,
    },
    /// A figure of the pool differs from what was counted.
    #[error("{figure}: the pool says {pool}, and {counted} were counted")]
    Figure {
        /// The name of the figure.
        figure: &'static str,
        /// The pool's value.
        pool: u64,
        /// The counted value.
        counted: u64,
    },
    /// A pool did not start though the device refused nothing.
    #[error("a pool did not start though the device refused nothing: {0}")]
    Start(StartError),
    /// The pool reported a device error though the device failed no call.
    #[error("the pool reports a device error though the device failed no call: {0}")]
    Device(DeviceError),
    /// A thread panicked.
    #[error("a thread panicked: {0}")]
    Panic(String),
}

/// Returns `Ok` if the pool's value and the counted value are equal.
pub(super) fn same(figure: &'static str, pool: u64, counted: u64) -> Result<(), Finding> {
    if pool == counted { Ok(()) } else { Err(Finding::Figure { figure, pool, counted }) }
}

impl Finding {
    /// Returns the finding of a panic, with its message.
    pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panic(text.unwrap_or_else(|| "without words".to_owned()))
    }
}

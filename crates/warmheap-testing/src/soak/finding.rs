//! What a soak can find: promises that a pool did not keep.
#![forbid(unsafe_code)]

use warmheap::device::DeviceError;
use warmheap::{AllocError, StartError};

/// A finding, with what it takes to look for it again.
#[derive(Debug, thiserror::Error)]
#[error(
    "{finding}; found in round {round}: start with `--seed {seed}` to begin there, with the same settings"
)]
#[non_exhaustive]
pub struct Broken {
    /// The seed of the round.
    pub seed: u64,
    /// Which round it was, from 1.
    pub round: u64,
    /// What is wrong.
    pub finding: Finding,
}

/// A promise that was not kept.
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
        /// Its bytes.
        size: u64,
        /// The older buffer's address.
        other: u64,
        /// Its bytes.
        other_size: u64,
    },
    /// Memory was handed out that a queue still uses.
    #[error(
        "a buffer of {size} bytes at {address:#x} was handed out while queue {queue} uses the memory: \
         its ticket is {ticket}, and the queue {} {reached}",
        if *lost { "was lost at" } else { "has reached" }
    )]
    Early {
        /// The buffer's address.
        address: u64,
        /// Its bytes.
        size: u64,
        /// The queue, counted through the round.
        queue: u64,
        /// The ticket that the memory waits for.
        ticket: u64,
        /// How far the queue is.
        reached: u64,
        /// Whether it was lost there.
        lost: bool,
    },
    /// A buffer was moved while a queue used it.
    #[error(
        "a movable buffer of {size} bytes is at {to:#x}, and was at {from:#x} when queue {queue} was given \
         it, which uses it still: its ticket is {ticket}, and the queue {} {reached}",
        if *lost { "was lost at" } else { "has reached" }
    )]
    Moved {
        /// Where it was.
        from: u64,
        /// Where it is.
        to: u64,
        /// Its bytes.
        size: u64,
        /// The queue, counted through the round.
        queue: u64,
        /// The ticket of the work.
        ticket: u64,
        /// How far the queue is.
        reached: u64,
        /// Whether it was lost there.
        lost: bool,
    },
    /// A buffer does not hold what it must.
    #[error("byte {offset} of a buffer of {size} bytes at {address:#x} {what}")]
    Contents {
        /// The buffer's address.
        address: u64,
        /// Its bytes.
        size: u64,
        /// Where.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A request was refused without a reason.
    #[error("a request for {size} bytes was refused though the device refused nothing: {error}")]
    Refused {
        /// The bytes asked for.
        size: u64,
        /// The pool's error.
        error: AllocError,
    },
    /// A buffer that is not what was asked for.
    #[error("a request for {size} bytes aligned to {align} got {found} bytes at {address:#x}")]
    Misfit {
        /// The bytes asked for.
        size: u64,
        /// The alignment asked for.
        align: u64,
        /// The bytes given.
        found: u64,
        /// Where.
        address: u64,
    },
    /// A figure of the pool differs from what was counted.
    #[error("{figure}: the pool says {pool}, and {counted} were counted")]
    Figure {
        /// Which figure.
        figure: &'static str,
        /// What the pool says.
        pool: u64,
        /// What was counted.
        counted: u64,
    },
    /// A pool did not start though the device refused nothing.
    #[error("a pool did not start though the device refused nothing: {0}")]
    Start(StartError),
    /// A device error was reported though the device failed no call.
    #[error("the pool reports a device error though the device failed no call: {0}")]
    Device(DeviceError),
    /// Something panicked.
    #[error("a thread panicked: {0}")]
    Panic(String),
}

/// `Ok` if the pool and the counter agree.
pub(super) fn same(figure: &'static str, pool: u64, counted: u64) -> Result<(), Finding> {
    if pool == counted { Ok(()) } else { Err(Finding::Figure { figure, pool, counted }) }
}

impl Finding {
    /// What a panic said.
    pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::Panic(text.unwrap_or_else(|| "without words".to_owned()))
    }
}

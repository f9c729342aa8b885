//! The errors of devices.

use crate::fork::Forked;

/// The reason that a device call failed. A failed call has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The device does not have enough memory.
    #[error("the device is out of memory: asked for {requested} bytes{}; use smaller or fewer heaps, or free memory",
        .available.map(|a| format!(", {a} free")).unwrap_or_default())]
    OutOfMemory {
        /// The requested bytes.
        requested: u64,
        /// Bytes free; `None` if the device cannot tell.
        available: Option<u64>,
    },
    /// One request is larger than the device allows for a single object.
    #[error(
        "{requested} bytes in one piece is more than the device allows ({largest}); ask for less at a time"
    )]
    TooLarge {
        /// The requested bytes.
        requested: u64,
        /// The device's limit in bytes.
        largest: u64,
    },
    /// The device has memory, but no objects are left. One more buffer object would pass the limit set for
    /// this process.
    #[error(
        "{live} of {limit} device objects are in use; address memory by heap and offset, or release buffer objects"
    )]
    TooManyObjects {
        /// Objects held now.
        live: u64,
        /// The limit.
        limit: u64,
    },
    /// The pool did not ask the device, because it would have held more than its settings allow.
    #[error("{key} allows {limit} {}, of which {held} are held; {requested} more were asked for: raise it, or free \
        memory", if key.ends_with("_objects") { "device objects" } else { "bytes" })]
    PastLimit {
        /// The configuration key of the limit.
        key: &'static str,
        /// The requested bytes or objects.
        requested: u64,
        /// Bytes or objects held, with those that other calls are requesting at this moment.
        held: u64,
        /// The limit.
        limit: u64,
    },
    /// The range is not inside its memory, or does not consist of whole steps where the device changes only
    /// whole steps. The call touched nothing.
    #[error(
        "bytes {start} to {end} of memory of {size} bytes cannot be used: the range must end in the memory, \
        and start and end on whole steps of the device where it commits them"
    )]
    OutOfRange {
        /// The first byte.
        start: u64,
        /// The end of the range: one past its last byte.
        end: u64,
        /// The size of the memory in bytes.
        size: u64,
    },
    /// No device can serve this size or alignment.
    #[error(
        "{size} bytes at a multiple of {align} were asked for; a buffer has at least 1 byte, and its \
        alignment is a power of two"
    )]
    BadRequest {
        /// The requested bytes.
        size: u64,
        /// The requested alignment, in bytes.
        align: u64,
    },
    /// The source of a copy is memory of another device.
    #[error("memory of another device cannot be copied by {device}; copy by way of the CPU")]
    ForeignMemory {
        /// The device that was asked to copy.
        device: &'static str,
    },
    /// The device or queue belongs to a parent process, of which this one is a fork.
    #[error(transparent)]
    Forked(#[from] Forked),
    /// The device does not support the operation.
    #[error("the device does not support {what}")]
    Unsupported {
        /// The operation.
        what: &'static str,
    },
    /// The machine does not have the driver or the device.
    #[error("no {device} device here: {reason}")]
    Unavailable {
        /// The requested device.
        device: &'static str,
        /// What the library tried, and what is missing.
        reason: String,
    },
    /// The device lost a queue or itself. Work in flight will never complete.
    #[error("the device was lost: {reason}; its queues make no more progress")]
    Lost {
        /// The driver's message.
        reason: String,
    },
    /// The device called the pool in the middle of a call that the pool had made to it, for something
    /// that waits for that call: from a method of [`Device`](super::Device) or
    /// [`Memory`](super::Memory), or from the destructor of a `Memory`.
    #[error(
        "{call} was called from within a call of the device that the pool is making; return from that first"
    )]
    WithinCall {
        /// What was called.
        call: &'static str,
    },
    /// Any other failure.
    #[error("the device failed in {call}: {reason}")]
    Failed {
        /// The driver call.
        call: &'static str,
        /// The driver's message.
        reason: String,
    },
}

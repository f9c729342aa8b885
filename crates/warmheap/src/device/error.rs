//! What a device can answer instead of memory.

use crate::fork::Forked;

/// Why a device call failed. A failed call has changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The device has not enough memory.
    #[error("the device is out of memory: asked for {requested} bytes{}; use smaller or fewer heaps, or free memory",
        .available.map(|a| format!(", {a} free")).unwrap_or_default())]
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
        /// Bytes free, where the device can tell.
        available: Option<u64>,
    },
    /// One request larger than the device allows for a single object.
    #[error(
        "{requested} bytes in one piece is more than the device allows ({largest}); ask for less at a time"
    )]
    TooLarge {
        /// Bytes asked for.
        requested: u64,
        /// The device's limit in bytes.
        largest: u64,
    },
    /// The device has memory, but its objects are used up: one more buffer object would pass the
    /// limit set for this process.
    #[error(
        "{live} of {limit} device objects are in use; address memory by heap and offset, or release buffer objects"
    )]
    TooManyObjects {
        /// Objects held now.
        live: u64,
        /// The limit.
        limit: u64,
    },
    /// The device was not asked: the pool would have held more of it than its settings allow.
    #[error("{key} allows {limit} {}, of which {held} are held; {requested} more were asked for: raise it, or free \
        memory", if key.ends_with("_objects") { "device objects" } else { "bytes" })]
    PastLimit {
        /// The configuration key of the limit.
        key: &'static str,
        /// Bytes or objects asked for.
        requested: u64,
        /// Bytes or objects held, those that other calls are asking for at this moment included.
        held: u64,
        /// The limit.
        limit: u64,
    },
    /// A range that is not inside the memory it was said to be of, or not of whole steps where only
    /// those can be changed. Nothing was touched.
    #[error(
        "bytes {start} to {end} of memory of {size} bytes cannot be used: the range must end in the memory, \
        and start and end on whole steps of the device where it commits them"
    )]
    OutOfRange {
        /// The first byte.
        start: u64,
        /// Past the last byte.
        end: u64,
        /// Bytes of the memory.
        size: u64,
    },
    /// A size or an alignment that no device can serve.
    #[error(
        "{size} bytes at a multiple of {align} were asked for; a buffer has at least 1 byte, and its \
        alignment is a power of two"
    )]
    BadRequest {
        /// Bytes asked for.
        size: u64,
        /// The alignment asked for, in bytes.
        align: u64,
    },
    /// The other memory of a copy is another device's.
    #[error("memory of another device cannot be copied by {device}; copy by way of the CPU")]
    ForeignMemory {
        /// The device that was to copy.
        device: &'static str,
    },
    /// The device or queue is that of a parent process, of which this one is a fork.
    #[error(transparent)]
    Forked(#[from] Forked),
    /// The device cannot do this at all.
    #[error("the device does not support {what}")]
    Unsupported {
        /// The operation.
        what: &'static str,
    },
    /// The driver or device is not there.
    #[error("no {device} device here: {reason}")]
    Unavailable {
        /// The device asked for.
        device: &'static str,
        /// What was tried and what is missing.
        reason: String,
    },
    /// The device lost a queue or itself; work in flight will never complete.
    #[error("the device was lost: {reason}; its queues make no more progress")]
    Lost {
        /// The driver's words.
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
        /// The driver's words.
        reason: String,
    },
}

//! One line of a trace.

use std::time::Duration;

/// The kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The pool allocated a buffer.
    Allocate,
    /// The pool could not allocate a buffer.
    AllocateFailure,
    /// A buffer was freed.
    Free,
}

impl Action {
    /// Returns the word that the file uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::AllocateFailure => "allocate failure",
            Self::Free => "free",
        }
    }
}

/// One allocation, failed allocation or free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The thread that called, as an opaque number.
    pub thread: u64,
    /// The time since the start of the recording, or since midnight in logs with clock times.
    pub time: Duration,
    /// The kind of the event.
    pub action: Action,
    /// The buffer, as an opaque number that another buffer may have after the free.
    pub pointer: u64,
    /// The requested bytes.
    pub size: u64,
    /// The stream or queue to which the buffer belonged.
    pub stream: u64,
}

//! One line of a trace.

use std::time::Duration;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A buffer was given.
    Allocate,
    /// A buffer was asked for and nobody could give it.
    AllocateFailure,
    /// A buffer came back.
    Free,
}

impl Action {
    /// The word in the file.
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
    /// When: since the start of the recording, or since midnight in logs with clock times.
    pub time: Duration,
    /// What happened.
    pub action: Action,
    /// The buffer, as an opaque number that may return after its free.
    pub pointer: u64,
    /// The bytes asked for.
    pub size: u64,
    /// The stream or queue the buffer belonged to.
    pub stream: u64,
}

//! What can be wrong with a trace, always with the line and what to do.

use std::fmt;
use std::io;

/// Why a trace could not be read, written or replayed: which file, which line, what.
///
/// Displays as one line: `FILE:LINE: what is wrong; what to do`.
#[derive(Debug)]
pub struct TraceError {
    name: String,
    line: u64,
    kind: TraceErrorKind,
}

impl TraceError {
    pub(crate) fn new(name: String, line: u64, kind: TraceErrorKind) -> Self {
        Self { name, line, kind }
    }

    /// The line the error is on, from 1; 0 when it is about the file as a whole.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &TraceErrorKind {
        &self.kind
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.name, self.kind),
            line => write!(f, "{}:{line}: {}", self.name, self.kind),
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            TraceErrorKind::Open(e) | TraceErrorKind::Read(e) | TraceErrorKind::Write(e) => Some(e),
            _ => None,
        }
    }
}

/// The kinds of [`TraceError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceErrorKind {
    /// The file cannot be opened or its first bytes cannot be read.
    #[error("cannot be opened ({0}); give an RMM replay log: .csv, .csv.gz or .csv.zst")]
    Open(io::Error),
    /// Reading stopped part-way.
    #[error("cannot be read any further ({0}); the file is truncated or damaged: copy or record it again")]
    Read(io::Error),
    /// The file cannot be created or written.
    #[error("cannot be written ({0}); check the folder and the space left")]
    Write(io::Error),
    /// The first line is not a replay log's.
    #[error("the header is `{found}`, not `Thread,Time,Action,Pointer,Size,Stream`; give an RMM replay log")]
    Header {
        /// The start of the first line.
        found: String,
    },
    /// A line without exactly six columns.
    #[error("{found} columns instead of 6; every line needs Thread,Time,Action,Pointer,Size,Stream")]
    Columns {
        /// Columns found.
        found: usize,
    },
    /// A line that no event can need.
    #[error("longer than {limit} bytes, which no event needs; the file is damaged or not a replay log")]
    LongLine {
        /// The most bytes a line may have.
        limit: usize,
    },
    /// A value that cannot be read.
    #[error("{column} is `{found}`; expected {expected}")]
    Value {
        /// The column's name.
        column: &'static str,
        /// The start of what stands there.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// An event that cannot have happened.
    #[error("{0}; correct the line, or read the trace leniently to skip and count such events")]
    Fault(Fault),
    /// More live buffers or different sizes than a program can name.
    #[error("more than {} buffers or sizes; split the trace", u32::MAX - 1)]
    TooLong,
}

/// A well-formed event that contradicts the ones before it, or itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A free of a pointer that is not live.
    #[error("free of pointer {pointer:#x}, which no line before allocates or which is already free")]
    UnknownFree {
        /// The pointer.
        pointer: u64,
    },
    /// An allocation of a pointer that is live.
    #[error("allocation of pointer {pointer:#x}, which is still live")]
    LiveAllocation {
        /// The pointer.
        pointer: u64,
    },
    /// An allocation of no bytes.
    #[error("allocation of 0 bytes; the smallest is 1")]
    ZeroSize,
    /// An allocation of 2^63 bytes or more.
    #[error("allocation of {size} bytes; sizes must be below 2^63")]
    TooLarge {
        /// The size.
        size: u64,
    },
}

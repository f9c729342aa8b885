//! The errors of traces. Each has the line and what to do.

use std::fmt;
use std::io;

/// The reason that a trace could not be read, written or replayed, with the file and the line.
///
/// The text is one line: `FILE:LINE: what is wrong; what to do`.
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

    /// Returns the line of the error, from 1, or 0 if it concerns the file as a whole.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Returns the kind of the error.
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
    /// Reading failed part-way.
    #[error("cannot be read any further ({0}); the file is truncated or damaged: copy or record it again")]
    Read(io::Error),
    /// The file cannot be created or written.
    #[error("cannot be written ({0}); check the folder and the space left")]
    Write(io::Error),
    /// Another recording, of this or another process, writes the file.
    #[error("another recording writes this file; end that one first, or name another file")]
    InUse,
    /// The first line is not the header of a replay log.
    #[error(
        "the header is `{found}`, which lacks one of Thread, Time, Action, Pointer, Size and Stream, with commas between them; give an RMM replay log"
    )]
    Header {
        /// The start of the first line.
        found: String,
    },
    /// A line does not have as many columns as the header.
    #[error("{found} columns instead of {expected}; every line needs those of the header")]
    Columns {
        /// Columns found.
        found: usize,
        /// The columns of the header.
        expected: usize,
    },
    /// A line is longer than any event needs.
    #[error("longer than {limit} bytes, which no event needs; the file is damaged or not a replay log")]
    LongLine {
        /// The most bytes a line may have.
        limit: usize,
    },
    /// A value cannot be read.
    #[error("{column} is `{found}`; expected {expected}")]
    Value {
        /// The column's name.
        column: &'static str,
        /// The start of the value.
        found: String,
        /// The form of a correct value.
        expected: &'static str,
    },
    /// An event cannot have happened.
    #[error("{0}; correct the line, or read the trace leniently to skip and count such events")]
    Fault(Fault),
    /// The trace has more live buffers or more different sizes than a program can name.
    #[error("more than {} buffers or sizes; split the trace", u32::MAX - 1)]
    TooLong,
}

/// A well-formed event that contradicts an earlier event, or itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The line frees a pointer that is not live.
    #[error("free of pointer {pointer:#x}, which no line before allocates or which is already free")]
    UnknownFree {
        /// The pointer.
        pointer: u64,
    },
    /// The line allocates a pointer that is live.
    #[error("allocation of pointer {pointer:#x}, which is still live")]
    LiveAllocation {
        /// The pointer.
        pointer: u64,
    },
    /// The line allocates no bytes.
    #[error("allocation of 0 bytes; the smallest is 1")]
    ZeroSize,
    /// The line allocates 2^63 bytes or more.
    #[error("allocation of {size} bytes; sizes must be below 2^63")]
    TooLarge {
        /// The size.
        size: u64,
    },
}

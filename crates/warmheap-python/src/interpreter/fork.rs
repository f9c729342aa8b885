//! Children of a fork: the library's refusal as Python's exception. What a child inherited refuses to work,
//! and its end does nothing; `warmheap::fork` says why.

use pyo3::prelude::*;
use warmheap::fork::Process;

use super::errors::IntoPython;

/// The process that an object was made in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin(Process);

impl Origin {
    /// Returns this process.
    pub(crate) fn here() -> Self {
        Self(Process::current())
    }

    /// Whether this is still the process. The test is one load and no system call.
    #[inline]
    pub(crate) fn is_here(self) -> bool {
        self.0.is_current()
    }

    /// Returns an error in any other process.
    #[inline]
    pub(crate) fn check(self) -> PyResult<()> {
        self.0.check().map_err(IntoPython::into_python)
    }
}

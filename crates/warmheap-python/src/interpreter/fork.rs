//! Children of a fork: the library's refusal as Python's exception. What a child inherited refuses to
//! work, and is left alone when it goes; see `warmheap::fork` for why.

use pyo3::prelude::*;
use warmheap::fork::Process;

use super::errors::IntoPython;

/// The process that something was made in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin(Process);

impl Origin {
    /// This process.
    pub(crate) fn here() -> Self {
        Self(Process::current())
    }

    /// Whether this still is the process. One load: no system is asked.
    #[inline]
    pub(crate) fn is_here(self) -> bool {
        self.0.is_current()
    }

    /// Refuses in any other process.
    #[inline]
    pub(crate) fn check(self) -> PyResult<()> {
        self.0.check().map_err(IntoPython::into_python)
    }
}

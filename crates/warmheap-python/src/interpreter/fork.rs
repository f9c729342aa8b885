//! Children of a fork: the library's refusal as Python's exception. What a child inherited refuses to
//! work, and is left alone when it goes; see `warmheap::fork` for why.

use pyo3::prelude::*;
use warmheap::fork::{Forked, Process};

use super::errors::Class;

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
        self.0.check().map_err(|forked| refusal(&forked))
    }
}

/// The library's refusal, in the words of Python.
#[cold]
pub(crate) fn refusal(Forked { parent, child }: &Forked) -> PyErr {
    Class::Fork.error(format_args!(
        "this belongs to process {parent}, and process {child} is a fork of it; make a pool in this process, or \
         start it with multiprocessing's \"spawn\""
    ))
}

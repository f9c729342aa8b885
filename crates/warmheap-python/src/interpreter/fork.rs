//! Children of a fork. A child has copies of the parent's pools, with locks that other threads may
//! have held and, on GPUs, with memory that is not its own. It may make pools of its own; what it
//! inherited refuses to work, and is left alone when it goes.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use pyo3::prelude::*;

use super::errors::Class;

/// See [`generation`].
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The process that something was made in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    forks: u32,
    pid: u32,
}

impl Origin {
    /// This process.
    pub(crate) fn here() -> Self {
        Self { forks: FORKS.load(Relaxed), pid: std::process::id() }
    }

    /// Whether this still is the process. One load: no system is asked.
    #[inline]
    pub(crate) fn is_here(self) -> bool {
        self.forks == FORKS.load(Relaxed)
    }

    /// Refuses in any other process.
    #[inline]
    pub(crate) fn check(self) -> PyResult<()> {
        if self.is_here() { Ok(()) } else { Err(self.refusal()) }
    }

    #[cold]
    fn refusal(self) -> PyErr {
        Class::Fork.error(format_args!(
            "this belongs to process {}, and process {} is a fork of it; make a pool in this process, or start it \
             with multiprocessing's \"spawn\"",
            self.pid,
            std::process::id()
        ))
    }
}

/// Forks between the start of the first process and this one.
pub(crate) fn generation() -> u32 {
    FORKS.load(Relaxed)
}

/// Notes, in a child, that it has been forked.
pub(crate) fn count() {
    FORKS.fetch_add(1, Relaxed);
}

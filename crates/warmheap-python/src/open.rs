//! What a pool object holds while it is open, and how it is used without the interpreter's lock.

use pyo3::prelude::*;
use warmheap::trace::Recorder;
use warmheap::{AllocError, Pool, Request, Site};

use crate::buffer::Held;
use crate::log;

/// An open pool, and who writes down what is asked of it.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) pool: Pool,
    pub(crate) recorder: Option<Recorder>,
}

impl Open {
    pub(crate) fn allocate(&self, request: Request, site: Site, fallback: bool) -> Result<Held, AllocError> {
        match &self.recorder {
            Some(recorder) if fallback => recorder.allocate_at(request, site).map(Held::Recorded),
            Some(recorder) => recorder.try_allocate_at(request, site).map(Held::Recorded),
            None if fallback => self.pool.allocate_at(request, site).map(Held::Plain),
            None => self.pool.try_allocate_at(request, site).map(Held::Plain),
        }
    }
}

/// Does what may wait while other threads run, and hands the log over.
pub(crate) fn wait<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    let done = py.detach(work);
    log::deliver(py);
    done
}

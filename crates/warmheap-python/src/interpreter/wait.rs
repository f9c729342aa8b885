//! Runs what may wait without the interpreter's lock.
//!
//! Everything that may wait for a device, for a lock that is held across a device's call, for a queue, a
//! thread or a file goes through [`wait`] or [`let_go`]. That includes the end of any handle of a pool,
//! because it may be the last, which closes the pool. Locks that are held for moments are taken directly.

use std::mem;

use pyo3::prelude::*;

use super::fork::Origin;
use super::log;

/// Runs what may wait while other threads run, and then delivers the log.
pub(crate) fn wait<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    let done = py.detach(work);
    log::deliver(py);
    done
}

/// Drops a value that may wait while other threads run. The end of an object calls this. An exception may be
/// on its way, so no Python code runs, and the library's log is delivered later. In a child of a fork the
/// value belongs to the parent, whose locks may be held for ever here, so it is not dropped.
pub(crate) fn let_go<T: Send>(origin: Origin, thing: T) {
    if !origin.is_here() {
        return mem::forget(thing);
    }
    let mut thing = Some(thing);
    // At the interpreter's end there is no lock to give up.
    Python::try_attach(|py| py.detach(|| drop(thing.take())));
}

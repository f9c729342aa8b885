//! What may wait goes on without the interpreter's lock.
//!
//! Whatever may wait for a device, for a lock that is held across a device's call, for a queue, a
//! thread or a file goes through [`wait`] or [`let_go`]. That includes the end of any handle of a pool:
//! it may be the last, which closes the pool. Locks that are held for moments are taken as they are.

use std::mem;

use pyo3::prelude::*;

use super::fork::Origin;
use super::log;

/// Does what may wait while other threads run, and hands the log over.
pub(crate) fn wait<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    let done = py.detach(work);
    log::deliver(py);
    done
}

/// Drops what may wait while other threads run. For objects that end: an exception may be on its way,
/// so no Python code runs, and what the library logs is handed over later. In a child of a fork it is
/// the parent's, whose locks may be held for ever here: it is left alone.
pub(crate) fn let_go<T: Send>(origin: Origin, thing: T) {
    if !origin.is_here() {
        return mem::forget(thing);
    }
    let mut thing = Some(thing);
    // At the interpreter's end there is no lock to give up.
    Python::try_attach(|py| py.detach(|| drop(thing.take())));
}

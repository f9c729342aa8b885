//! Asking the interpreter to come by: from any thread, its lock held or not.

use std::ffi::{c_int, c_void};

use pyo3::prelude::*;

use crate::log;

/// Has the main thread hand the log over at its next step.
pub(crate) fn deliver_soon() {
    // SAFETY: allowed on any thread; the function is of this library, which is never unloaded. When
    // the interpreter's list is full, the next call of this package hands the log over.
    unsafe { pyo3::ffi::Py_AddPendingCall(Some(come_by), std::ptr::null_mut()) };
}

/// Interrupts the main thread at its next step, as Ctrl+C does.
pub(crate) fn interrupt() {
    // SAFETY: allowed on any thread.
    unsafe { pyo3::ffi::PyErr_SetInterrupt() };
}

extern "C" fn come_by(_: *mut c_void) -> c_int {
    Python::attach(log::deliver);
    0
}

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

/// Raises `error` at the main thread's next step.
///
/// # Errors
/// The error, where the interpreter's list is full.
pub(crate) fn raise_soon(error: PyErr) -> Result<(), PyErr> {
    let error = Box::into_raw(Box::new(error)).cast::<c_void>();
    // SAFETY: as above; the call takes the error.
    match unsafe { pyo3::ffi::Py_AddPendingCall(Some(raise), error) } {
        0 => Ok(()),
        // SAFETY: from `into_raw` above, and the interpreter has not taken it.
        _ => Err(*unsafe { Box::from_raw(error.cast::<PyErr>()) }),
    }
}

extern "C" fn raise(error: *mut c_void) -> c_int {
    // SAFETY: of a box that `raise_soon` made; the interpreter makes each call once.
    let error = unsafe { Box::from_raw(error.cast::<PyErr>()) };
    Python::attach(|py| error.restore(py));
    -1
}

extern "C" fn come_by(_: *mut c_void) -> c_int {
    Python::attach(log::deliver);
    0
}

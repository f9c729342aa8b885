//! Runs code at the interpreter's next step. Any thread may request it, with or without the interpreter's
//! lock.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem;

use pyo3::prelude::*;

/// Runs `work` on the main thread at its next step, unless the interpreter's list is full.
pub(crate) fn call_soon(work: fn(Python<'_>)) {
    // SAFETY: any thread may call this. The functions belong to this library, which is never unloaded.
    unsafe { pyo3::ffi::Py_AddPendingCall(Some(come_by), work as *mut c_void) };
}

/// Raises `error` at the main thread's next step.
///
/// # Errors
/// Returns the error if the interpreter's list is full.
pub(crate) fn raise_soon(error: PyErr) -> Result<(), PyErr> {
    let error = Box::into_raw(Box::new(error)).cast::<c_void>();
    // SAFETY: as above. The call takes the error.
    match unsafe { pyo3::ffi::Py_AddPendingCall(Some(raise), error) } {
        0 => Ok(()),
        // SAFETY: the pointer is from `into_raw` above, and the interpreter has not taken it.
        _ => Err(*unsafe { Box::from_raw(error.cast::<PyErr>()) }),
    }
}

extern "C" fn raise(error: *mut c_void) -> c_int {
    // SAFETY: the pointer is a box that `raise_soon` made, and the interpreter makes each call once.
    let error = unsafe { Box::from_raw(error.cast::<PyErr>()) };
    Python::attach(|py| error.restore(py));
    -1
}

extern "C" fn come_by(work: *mut c_void) -> c_int {
    // SAFETY: this is the function that `call_soon` was given.
    let work = unsafe { mem::transmute::<*mut c_void, fn(Python<'_>)>(work) };
    Python::attach(work);
    0
}

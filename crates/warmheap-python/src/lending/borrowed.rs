//! The bytes of other objects, such as arrays and `bytes`, through the buffer protocol.
//!
//! The stable interface has the protocol's functions from 3.11 on, and PyO3 offers them only to builds for
//! that. Older interpreters have the same functions.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem::MaybeUninit;

use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi::PyObject;
use pyo3::prelude::*;

use super::py_buffer::View;
use crate::interpreter::arguments;
use crate::interpreter::errors::Class;

const SIMPLE: c_int = 0;
const WRITABLE: c_int = 1;

unsafe extern "C" {
    fn PyObject_GetBuffer(object: *mut PyObject, view: *mut View, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut View);
}

/// A view of another object's bytes, which keeps them in their place until it ends.
pub(super) struct Borrowed {
    /// A view may point into itself, so it does not move.
    view: Box<View>,
}

// SAFETY: only the bytes are used without the interpreter's lock. The view ends under it.
unsafe impl Send for Borrowed {}

impl Borrowed {
    /// Views the bytes of the argument `name`.
    pub(super) fn of(name: &str, object: &Bound<'_, PyAny>, writable: bool) -> PyResult<Self> {
        let py = object.py();
        let mut view = Box::new(MaybeUninit::<View>::uninit());
        let flags = if writable { WRITABLE } else { SIMPLE };
        // SAFETY: the thread is attached, and there is room for a view.
        if unsafe { PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), flags) } == 0 {
            // SAFETY: the call has filled the view.
            return Ok(Self { view: unsafe { view.assume_init() } });
        }
        let error = PyErr::fetch(py);
        if error.is_instance_of::<PyTypeError>(py) {
            Err(arguments::wrong(name, object, "a Buffer, or bytes in one piece such as bytes or an array"))
        } else if error.is_instance_of::<PyBufferError>(py) || error.is_instance_of::<PyValueError>(py) {
            Err(Class::Request.error(format_args!("{name} lends no such bytes: {}", error.value(py))))
        } else {
            Err(error)
        }
    }

    pub(super) fn address(&self) -> *mut u8 {
        self.view.buf.cast()
    }

    pub(super) fn len(&self) -> u64 {
        u64::try_from(self.view.len).unwrap_or(0)
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let view: *mut View = &raw mut *self.view;
        // At the interpreter's end the object goes with the process.
        // SAFETY: the thread is attached, the view is filled, and it is released once.
        Python::try_attach(|_| unsafe { PyBuffer_Release(view) });
    }
}

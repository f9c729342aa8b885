//! The C form of a view, as the buffer protocol passes it.

use std::ffi::{c_char, c_int, c_void};

use pyo3::ffi::{Py_ssize_t, PyObject};

/// `Py_buffer`, the same from 3.9 on. The stable interface has it from 3.11 on, and PyO3 offers it only to builds
/// for that.
#[repr(C)]
pub(super) struct View {
    pub(super) buf: *mut c_void,
    pub(super) obj: *mut PyObject,
    pub(super) len: Py_ssize_t,
    pub(super) itemsize: Py_ssize_t,
    pub(super) readonly: c_int,
    pub(super) ndim: c_int,
    pub(super) format: *mut c_char,
    pub(super) shape: *mut Py_ssize_t,
    pub(super) strides: *mut Py_ssize_t,
    pub(super) suboffsets: *mut Py_ssize_t,
    pub(super) internal: *mut c_void,
}

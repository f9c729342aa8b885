//! The class `Buffer`: the class of `contents` with the buffer protocol.
//!
//! The stable interface has the protocol's slots from 3.11 on, and PyO3 offers them only to builds for that.
//! Older interpreters take the slots from a type's specification as well, and the layout of `Py_buffer` is
//! the same in all of them. So this module specifies a subclass that adds only the two slots. PyO3 makes the
//! objects, which then get that class, as an assignment to `__class__` does.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi::{self, Py_ssize_t, PyObject, PyType_Slot, PyTypeObject};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use super::py_buffer::View;
use crate::contents::{BufferBase, Held, MemoryPool};

const BF_GETBUFFER: c_int = 1;
const BF_RELEASEBUFFER: c_int = 2;
/// The parts that a consumer may request: the shape, the strides, the format.
const ND: c_int = 0x8;
const STRIDES: c_int = 0x10 | ND;
const FORMAT: c_int = 0x4;

static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The class.
pub(crate) fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    CLASS.get_or_try_init(py, || specify(py)).map(|class| class.bind(py))
}

fn specify(py: Python<'_>) -> PyResult<Py<PyType>> {
    let base = py.get_type::<BufferBase>();
    // SAFETY: this is a heap type's own slot, which every class has.
    let dealloc = unsafe { ffi::PyType_GetSlot(base.as_type_ptr(), ffi::Py_tp_dealloc) };
    // SAFETY: as above. The text is null if the class has none.
    let doc = unsafe { ffi::PyType_GetSlot(base.as_type_ptr(), ffi::Py_tp_doc) };
    let slot = |slot, pfunc| PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_dealloc, dealloc),
        slot(ffi::Py_tp_doc, doc),
        slot(BF_GETBUFFER, get_buffer as *mut c_void),
        slot(BF_RELEASEBUFFER, release_buffer as *mut c_void),
        slot(0, ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: c"warmheap.Buffer".as_ptr(),
        // The deallocation is the base's.
        basicsize: 0,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as _,
        slots: slots.as_mut_ptr(),
    };
    let bases = PyTuple::new(py, [base])?;
    // SAFETY: the specification is complete and ends with a slot of zeros. The interpreter copies what it
    // keeps, and the name is static.
    let made = unsafe {
        Bound::from_owned_ptr_or_err(py, ffi::PyType_FromSpecWithBases(&mut spec, bases.as_ptr()))?
    };
    Ok(made.cast_into::<PyType>()?.unbind())
}

/// Returns a new object of the class, for memory of `pool`.
#[inline]
pub(crate) fn object(pool: &Bound<'_, MemoryPool>, held: Held) -> PyResult<Py<PyAny>> {
    let py = pool.py();
    let class = class(py)?.clone();
    let object = Bound::new(py, BufferBase::new(pool, held))?;
    // SAFETY: the object is new, and nothing else has it. Both classes have the same layout and the same
    // deallocation, and each object owns a reference to its class.
    unsafe {
        let header = object.as_ptr();
        let base = (*header).ob_type;
        (*header).ob_type = class.into_ptr().cast::<PyTypeObject>();
        ffi::Py_DECREF(base.cast());
    }
    Ok(object.into_any().unbind())
}

/// # Safety
/// The interpreter calls this: attached, with an object of the class and room for a view.
unsafe extern "C" fn get_buffer(slf: *mut PyObject, view: *mut View, flags: c_int) -> c_int {
    // SAFETY: the thread is attached, as the interpreter promises.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the object is of the class, whose layout is the base's.
    let object = unsafe { Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<BufferBase>() };
    let lent = object.get().lend_to_cpu().and_then(|(address, size)| {
        let too_large = |_| {
            object.get().take_back();
            PyBufferError::new_err("too large for a view")
        };
        Ok((address, Py_ssize_t::try_from(size).map_err(too_large)?))
    });
    let (address, size) = match lent {
        Ok(lent) => lent,
        Err(error) => {
            error.restore(py);
            // SAFETY: there is room for a view. The protocol requires `obj` to be null then.
            unsafe { (*view).obj = ptr::null_mut() };
            return -1;
        }
    };
    let wanted = |flag| flags & flag == flag;
    // SAFETY: there is room for a view. Its shape and strides point into itself: one dimension of bytes,
    // whose shape is its length and whose stride is its item's size.
    unsafe {
        view.write(View {
            buf: address.as_ptr().cast(),
            obj: object.into_ptr(),
            len: size,
            itemsize: 1,
            readonly: 0,
            ndim: 1,
            format: if wanted(FORMAT) { c"B".as_ptr().cast_mut() } else { ptr::null_mut() },
            shape: if wanted(ND) { &raw mut (*view).len } else { ptr::null_mut() },
            strides: if wanted(STRIDES) { &raw mut (*view).itemsize } else { ptr::null_mut() },
            suboffsets: ptr::null_mut(),
            internal: ptr::null_mut(),
        });
    }
    0
}

/// # Safety
/// The interpreter calls this once for each view: attached, with the object that was viewed.
unsafe extern "C" fn release_buffer(slf: *mut PyObject, _: *mut View) {
    // SAFETY: the thread is attached, as the interpreter promises.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the object is of the class, whose layout is the base's.
    let object = unsafe { Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<BufferBase>() };
    object.get().take_back();
}

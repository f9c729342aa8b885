//! Lends memory to array libraries through DLPack, in its old form and in the versioned one.
//!
//! A capsule owns a tensor's description, and the description has a reference to the buffer. A consumer that
//! takes the tensor out of the capsule renames the capsule and calls the deleter when done, from any thread.
//! A capsule that no consumer took calls the deleter itself.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::contents::BufferBase;

/// The device of a tensor: DLPack's kind and its number.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) kind: i32,
    pub(crate) number: i32,
}

impl Device {
    pub(crate) const CPU: Self = Self { kind: 1, number: 0 };

    pub(crate) fn cuda(number: u32) -> Self {
        Self { kind: 2, number: number as i32 }
    }
}

#[repr(C)]
struct DataType {
    code: u8,
    bits: u8,
    lanes: u16,
}

/// The type of bytes: unsigned integers of 8 bits.
const BYTES: DataType = DataType { code: 1, bits: 8, lanes: 1 };

#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: Device,
    ndim: i32,
    dtype: DataType,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

/// `DLManagedTensor`.
#[repr(C)]
struct Plain {
    tensor: Tensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Plain)>,
}

/// `DLManagedTensorVersioned`.
#[repr(C)]
struct Versioned {
    version: [u32; 2],
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Versioned)>,
    flags: u64,
    tensor: Tensor,
}

const VERSION: [u32; 2] = [1, 0];

/// A form of managed tensor, and the name of its capsule until a consumer takes it.
trait Form: Sized {
    const NAME: &CStr;

    fn new(tensor: Tensor) -> Self;

    fn tensor(&mut self) -> &mut Tensor;
}

impl Form for Plain {
    const NAME: &CStr = c"dltensor";

    fn new(tensor: Tensor) -> Self {
        Self { tensor, context: ptr::null_mut(), deleter: Some(delete::<Self>) }
    }

    fn tensor(&mut self) -> &mut Tensor {
        &mut self.tensor
    }
}

impl Form for Versioned {
    const NAME: &CStr = c"dltensor_versioned";

    fn new(tensor: Tensor) -> Self {
        let deleter = Some(delete::<Self> as _);
        Self { version: VERSION, context: ptr::null_mut(), deleter, flags: 0, tensor }
    }

    fn tensor(&mut self) -> &mut Tensor {
        &mut self.tensor
    }
}

/// A managed tensor with all that it needs. A pointer to the tensor is a pointer to the whole.
#[repr(C)]
struct Lent<F> {
    managed: F,
    shape: [i64; 1],
    strides: [i64; 1],
    buffer: Py<BufferBase>,
}

/// Returns a capsule over the bytes of `buffer`, and counts them as lent until the tensor is deleted.
pub(crate) fn capsule<'py>(
    buffer: &Bound<'py, BufferBase>,
    device: Device,
    address: u64,
    size: u64,
    versioned: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let tensor = Tensor {
        data: ptr::with_exposed_provenance_mut(address as usize),
        device,
        ndim: 1,
        dtype: BYTES,
        shape: ptr::null_mut(),
        strides: ptr::null_mut(),
        byte_offset: 0,
    };
    if versioned { wrap::<Versioned>(buffer, tensor, size) } else { wrap::<Plain>(buffer, tensor, size) }
}

fn wrap<'py, F: Form>(
    buffer: &Bound<'py, BufferBase>,
    tensor: Tensor,
    size: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let managed = F::new(tensor);
    let mut lent =
        Box::new(Lent { managed, shape: [size as i64], strides: [1], buffer: buffer.clone().unbind() });
    let (shape, strides) = (lent.shape.as_mut_ptr(), lent.strides.as_mut_ptr());
    (lent.managed.tensor().shape, lent.managed.tensor().strides) = (shape, strides);
    let lent = Box::into_raw(lent);
    // SAFETY: the thread is attached, the name is static and the pointer is not null. The result is a new
    // reference, or null with an exception set.
    let capsule = unsafe {
        let capsule = ffi::PyCapsule_New(lent.cast(), F::NAME.as_ptr(), Some(untaken::<F>));
        Bound::from_owned_ptr_or_err(buffer.py(), capsule)
    };
    if capsule.is_err() {
        // SAFETY: the pointer is from `into_raw` above, and nothing else has it.
        unsafe { delete::<F>(lent.cast()) };
    }
    capsule
}

/// Ends a capsule whose tensor no consumer took. A consumer would have renamed it.
///
/// # Safety
/// The interpreter calls this with a capsule that [`wrap`] made.
unsafe extern "C" fn untaken<F: Form>(capsule: *mut ffi::PyObject) {
    // SAFETY: the thread is attached, the object is a capsule, and the name is static.
    if unsafe { ffi::PyCapsule_IsValid(capsule, F::NAME.as_ptr()) } == 0 {
        return;
    }
    // SAFETY: as above. Under its first name the capsule still owns the tensor.
    unsafe { delete::<F>(ffi::PyCapsule_GetPointer(capsule, F::NAME.as_ptr()).cast()) };
}

/// Deletes a tensor.
///
/// # Safety
/// `managed` is a tensor that [`wrap`] made, and this is the only call.
unsafe extern "C" fn delete<F>(managed: *mut F) {
    // SAFETY: the tensor is the first field of a box that `wrap` made.
    let lent = unsafe { Box::from_raw(managed.cast::<Lent<F>>()) };
    let Lent { buffer, .. } = *lent;
    let mut buffer = Some(buffer);
    // Any thread may call this. After the interpreter's end there is nothing to give back.
    let attached = Python::try_attach(|py| {
        if let Some(buffer) = buffer.take() {
            buffer.bind(py).get().take_back();
        }
    });
    if attached.is_none() {
        std::mem::forget(buffer);
    }
}

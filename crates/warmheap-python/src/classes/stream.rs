//! CUDA streams that the program names by their handles.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr;

use warmheap::device::DeviceError;
use warmheap::device::cuda::{CudaDevice, CudaQueue};

/// A queue of the work on a stream of GPU `gpu`.
pub(crate) fn queue(gpu: u32, stream: usize) -> Result<CudaQueue, DeviceError> {
    let stream: *mut c_void = ptr::with_exposed_provenance_mut(stream);
    // SAFETY: what `MemoryPool.queue` asks of its caller: a stream's handle, of this GPU, that
    // outlives the queue. Python has no way to promise more.
    unsafe { CudaDevice::open(gpu)?.queue(stream) }
}

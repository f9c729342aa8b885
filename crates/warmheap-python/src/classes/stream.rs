//! CUDA streams, which the program names by their handles.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr;

use warmheap::device::DeviceError;
use warmheap::device::cuda::{CudaDevice, CudaQueue};

/// Returns a queue of the work on a stream of GPU `gpu`.
pub(crate) fn queue(gpu: u32, stream: usize) -> Result<CudaQueue, DeviceError> {
    let stream: *mut c_void = ptr::with_exposed_provenance_mut(stream);
    // SAFETY: `MemoryPool.queue` requires a stream's handle, of this GPU, that outlives the queue. Python has
    // no way to promise more.
    unsafe { CudaDevice::open(gpu)?.queue(stream) }
}

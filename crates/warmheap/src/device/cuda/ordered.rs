//! Fallback buffers in stream order: the driver's own pool, on the default stream.
//!
//! A tenth of the price of `cuMemAlloc` once the driver's pool is warm, and right only for memory
//! whose last use is ordered before later work on the default stream; hence an option.

use std::any::Any;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUdeviceptr, CUmemPool_attribute, CUmemoryPool};

use super::context::Context;
use crate::device::{DeviceError, Memory};

/// One buffer from `cuMemAllocAsync`.
#[derive(Debug)]
pub(super) struct OrderedBlock {
    context: Arc<Context>,
    base: CUdeviceptr,
    address: CUdeviceptr,
    size: u64,
}

/// Has the driver keep what is freed, for the next request.
pub(super) fn keep_freed(context: &Context) -> Result<(), DeviceError> {
    let mut pool: CUmemoryPool = ptr::null_mut();
    // SAFETY: writes to a local.
    context.check("cuDeviceGetDefaultMemPool", unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, context.ordinal)
    })?;
    let mut threshold = u64::MAX;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is 64 bits wide and only read from.
    context.check("cuMemPoolSetAttribute", unsafe {
        sys::cuMemPoolSetAttribute(pool, attribute, ptr::from_mut(&mut threshold).cast())
    })
}

impl OrderedBlock {
    /// Allocates `size` bytes at a multiple of `align`, a power of two.
    pub(super) fn allocate(context: Arc<Context>, size: u64, align: u64) -> Result<Self, DeviceError> {
        let bytes = context.with_slack(size, align)?;
        let mut base: CUdeviceptr = 0;
        let entered = context.enter()?;
        // SAFETY: writes to a local; the context is current; null is the default stream.
        let status = unsafe { sys::cuMemAllocAsync(&mut base, bytes as usize, ptr::null_mut()) };
        context.check_memory("cuMemAllocAsync", status, size)?;
        drop(entered);
        Ok(Self { context, base, address: base.next_multiple_of(align), size })
    }
}

impl Memory for OrderedBlock {
    fn address(&self) -> u64 {
        self.address
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn warm(&self, _range: Range<u64>) -> Result<(), DeviceError> {
        Ok(())
    }

    fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        self.context.fill(self.address + range.start, range.end - range.start, byte)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for OrderedBlock {
    fn drop(&mut self) {
        if let Ok(_entered) = self.context.enter() {
            // SAFETY: given by cuMemAllocAsync and freed once, in the order of the same stream.
            let status = unsafe { sys::cuMemFreeAsync(self.base, ptr::null_mut()) };
            // A failure here means a lost context, which the next call reports.
            let _ = self.context.check("cuMemFreeAsync", status);
        }
    }
}

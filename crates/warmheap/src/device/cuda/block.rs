//! Memory that the driver gives as one block: fixed heaps and fallback buffers.

use std::any::Any;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUdeviceptr, CUmemPool_attribute, CUmemoryPool};

use super::context::Context;
use super::source;
use crate::device::memory::{copy_within, within};
use crate::device::{DeviceError, Memory};

/// The pair of driver calls that allocate and free a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `cuMemAlloc`. Its free waits for work that uses the block.
    Plain,
    /// `cuMemAllocAsync` on the default stream, from the driver's own pool. Once that pool is warm, a call
    /// takes a tenth of the time. It is safe only for memory whose last use is ordered before later work on
    /// the default stream.
    Ordered,
}

/// One block.
#[derive(Debug)]
pub(super) struct Block {
    context: Arc<Context>,
    source: Source,
    /// The address that the driver returned, and takes back.
    base: CUdeviceptr,
    /// The first address of the block with the requested alignment.
    address: CUdeviceptr,
    size: u64,
}

impl Source {
    fn take(self, context: &Context, bytes: u64) -> Result<CUdeviceptr, DeviceError> {
        let mut base: CUdeviceptr = 0;
        let _entered = context.enter()?;
        let (call, status) = match self {
            // SAFETY: the call writes to a local, and the context is current.
            Self::Plain => ("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut base, bytes as usize) }),
            Self::Ordered => {
                // SAFETY: as above. Null is the default stream.
                let status = unsafe { sys::cuMemAllocAsync(&mut base, bytes as usize, ptr::null_mut()) };
                ("cuMemAllocAsync", status)
            }
        };
        context.check_memory(call, status, bytes).map(|()| base)
    }

    /// # Safety
    /// `base` is from [`Source::take`] of the same source and context, and is given back once.
    unsafe fn give_back(self, context: &Context, base: CUdeviceptr) -> Result<(), DeviceError> {
        let _entered = context.enter()?;
        let (call, status) = match self {
            // SAFETY: the caller keeps the contract, and the driver waits for work that uses the block.
            Self::Plain => ("cuMemFree", unsafe { sys::cuMemFree_v2(base) }),
            // SAFETY: the caller keeps the contract. The block is freed in the order of its stream.
            Self::Ordered => ("cuMemFreeAsync", unsafe { sys::cuMemFreeAsync(base, ptr::null_mut()) }),
        };
        context.check(call, status)
    }
}

/// Makes the driver's own pool keep freed memory for the next request.
pub(super) fn keep_freed(context: &Context) -> Result<(), DeviceError> {
    let mut pool: CUmemoryPool = ptr::null_mut();
    // SAFETY: the call writes to a local.
    context.check("cuDeviceGetDefaultMemPool", unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, context.ordinal)
    })?;
    let mut threshold = u64::MAX;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute has 64 bits, and the driver only reads it.
    context.check("cuMemPoolSetAttribute", unsafe {
        sys::cuMemPoolSetAttribute(pool, attribute, ptr::from_mut(&mut threshold).cast())
    })
}

impl Block {
    /// Allocates `size` bytes at a multiple of `align`, a power of two.
    pub(super) fn allocate(
        context: Arc<Context>,
        source: Source,
        size: u64,
        align: u64,
    ) -> Result<Self, DeviceError> {
        let base = source.take(&context, context.with_slack(size, align)?)?;
        Ok(Self { context, source, base, address: base.next_multiple_of(align), size })
    }
}

// SAFETY: the block's place and length are fixed, and the driver does not hand it out again before the drop.
unsafe impl Memory for Block {
    fn device_address(&self) -> u64 {
        self.address
    }

    fn size(&self) -> u64 {
        self.size
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        // The driver's blocks are resident, so warming would gain nothing.
        within(&range, self.size).map(drop)
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        let len = within(&range, self.size)?;
        // SAFETY: the range lies in this block, and the caller has exclusive access to it.
        unsafe { self.context.fill(self.address + range.start, len, byte) }
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let target = copy_within(at, self.size, &range, from.size())?;
        let from = source(from, &self.context)? + range.start;
        // SAFETY: both ranges lie in memory of this device, and the caller has exclusive access to them.
        unsafe { self.context.copy(self.address + target.start, from, target.end - target.start) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Block {
    /// Returns the number of the block's device.
    pub(super) fn ordinal(&self) -> i32 {
        self.context.ordinal
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block was taken in `allocate`, and only this call gives it back. A failure means a lost
        // context, which the next call reports.
        let _ = unsafe { self.source.give_back(&self.context, self.base) };
    }
}

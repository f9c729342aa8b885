//! Memory the driver gives as one block: fixed heaps and fallback buffers.

use std::any::Any;
use std::ops::Range;
use std::ptr;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUdeviceptr, CUmemPool_attribute, CUmemoryPool};

use super::context::Context;
use super::source;
use crate::device::memory::{copy_within, within};
use crate::device::{DeviceError, Memory};

/// Which pair of the driver's calls a block comes from and goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// `cuMemAlloc`, whose free waits for work that uses the block.
    Plain,
    /// `cuMemAllocAsync` on the default stream: the driver's own pool. A tenth of the price once
    /// that is warm, and right only for memory whose last use is ordered before later work on the
    /// default stream.
    Ordered,
}

/// One block.
#[derive(Debug)]
pub(super) struct Block {
    context: Arc<Context>,
    source: Source,
    /// What the driver gave, and what it takes back.
    base: CUdeviceptr,
    /// The first address of the block with the alignment asked for.
    address: CUdeviceptr,
    size: u64,
}

impl Source {
    fn take(self, context: &Context, bytes: u64) -> Result<CUdeviceptr, DeviceError> {
        let mut base: CUdeviceptr = 0;
        let _entered = context.enter()?;
        let (call, status) = match self {
            // SAFETY: writes to a local; the context is current.
            Self::Plain => ("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut base, bytes as usize) }),
            Self::Ordered => {
                // SAFETY: as above; null is the default stream.
                let status = unsafe { sys::cuMemAllocAsync(&mut base, bytes as usize, ptr::null_mut()) };
                ("cuMemAllocAsync", status)
            }
        };
        context.check_memory(call, status, bytes).map(|()| base)
    }

    /// # Safety
    /// `base` is from [`Source::take`] of the same source and context, and given back once.
    unsafe fn give_back(self, context: &Context, base: CUdeviceptr) -> Result<(), DeviceError> {
        let _entered = context.enter()?;
        let (call, status) = match self {
            // SAFETY: the caller's promise; the driver waits for work that uses the block.
            Self::Plain => ("cuMemFree", unsafe { sys::cuMemFree_v2(base) }),
            // SAFETY: the caller's promise; freed in the order of the stream it was made on.
            Self::Ordered => ("cuMemFreeAsync", unsafe { sys::cuMemFreeAsync(base, ptr::null_mut()) }),
        };
        context.check(call, status)
    }
}

/// Has the driver's own pool keep what is freed, for the next request.
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

// SAFETY: the block's place and length are fixed, and the driver gives it to nobody else until the drop.
unsafe impl Memory for Block {
    fn address(&self) -> u64 {
        self.address
    }

    fn size(&self) -> u64 {
        self.size
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        // The driver's blocks are resident: there is no cheaper second use.
        within(&range, self.size).map(drop)
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        let len = within(&range, self.size)?;
        // SAFETY: the range lies in this block, and is the caller's by its promise.
        unsafe { self.context.fill(self.address + range.start, len, byte) }
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let target = copy_within(at, self.size, &range, from.size())?;
        let from = source(from, &self.context)? + range.start;
        // SAFETY: both ranges lie in memory of this device, and are the caller's by its promise.
        unsafe { self.context.copy(self.address + target.start, from, target.end - target.start) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Block {
    /// The device that the block is of.
    pub(super) fn ordinal(&self) -> i32 {
        self.context.ordinal
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: taken in `allocate`, given back here alone. A failure means a lost context, which
        // the next call reports.
        let _ = unsafe { self.source.give_back(&self.context, self.base) };
    }
}

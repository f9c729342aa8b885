//! Memory the driver gives as one block: fixed heaps and fallback buffers.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUdeviceptr};

use super::context::Context;
use crate::device::{DeviceError, Memory};

/// One block from `cuMemAlloc`.
#[derive(Debug)]
pub(super) struct Block {
    context: Arc<Context>,
    /// What the driver gave, and what it takes back.
    base: CUdeviceptr,
    /// The first address of the block with the alignment asked for.
    address: CUdeviceptr,
    size: u64,
}

impl Block {
    /// Allocates `size` bytes at a multiple of `align`, a power of two.
    pub(super) fn allocate(context: Arc<Context>, size: u64, align: u64) -> Result<Self, DeviceError> {
        let bytes = context.with_slack(size, align)?;
        let mut base: CUdeviceptr = 0;
        let entered = context.enter()?;
        // SAFETY: writes to a local; the context is current.
        let status = unsafe { sys::cuMemAlloc_v2(&mut base, bytes as usize) };
        context.check_memory("cuMemAlloc", status, size)?;
        drop(entered);
        Ok(Self { context, base, address: base.next_multiple_of(align), size })
    }
}

impl Memory for Block {
    fn address(&self) -> u64 {
        self.address
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn warm(&self, _range: Range<u64>) -> Result<(), DeviceError> {
        // The driver's blocks are resident: there is no cheaper second use.
        Ok(())
    }

    fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        self.context.fill(self.address + range.start, range.end - range.start, byte)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Ok(_entered) = self.context.enter() {
            // SAFETY: given by cuMemAlloc and freed once; the driver waits for work that uses it.
            let status = unsafe { sys::cuMemFree_v2(self.base) };
            // A failure here means a lost context, which the next call reports.
            let _ = self.context.check("cuMemFree", status);
        }
    }
}

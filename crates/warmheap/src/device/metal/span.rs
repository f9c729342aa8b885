//! One MTLBuffer over a whole region: its address, its contents, and writing it by the GPU.
//!
//! Shared by heaps and fallback buffers. Reads each fixed fact once, at creation, so that the hit
//! path asks Objective-C nothing.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Deref, Range};
use std::ptr::NonNull;
use std::sync::Arc;

use objc2::Message;
use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSString;
use objc2_metal::{MTLBuffer, MTLResource, MTLStorageMode};

use super::autorelease::pooled;
use super::context::Context;
use super::{MetalFallback, MetalHeap, WarmUp};
use crate::device::memory::{copy_within, within};
use crate::device::{DeviceError, Memory};

/// A Metal object that may be kept and used on any thread.
pub(super) struct Shared<P: ?Sized>(pub(super) Retained<ProtocolObject<P>>);

// SAFETY: Metal counts references atomically, and its objects may be created, used and released
// on different threads. What is called through this type at the same time from two threads is
// limited to reading immutable facts; every call that changes the object is made under the lock of
// the one struct that owns the wrapper.
unsafe impl<P: ?Sized> Send for Shared<P> {}
// SAFETY: as above.
unsafe impl<P: ?Sized> Sync for Shared<P> {}

impl<P: ?Sized + 'static> Shared<P> {
    pub(super) fn retain(object: &ProtocolObject<P>) -> Self {
        Self(object.retain())
    }
}

impl<P: ?Sized> fmt::Debug for Shared<P> {
    /// The pointer alone: asking the object to describe itself would be a call on it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:p}", Retained::as_ptr(&self.0))
    }
}

impl<P: ?Sized> Deref for Shared<P> {
    type Target = ProtocolObject<P>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[derive(Debug)]
pub(super) struct Span {
    pub(super) context: Arc<Context>,
    pub(super) buffer: Shared<dyn MTLBuffer>,
    /// Bytes of the buffer before the region, where only a part of it starts on the alignment.
    pub(super) lead: u64,
    pub(super) address: u64,
    /// The CPU's address of the region, 0 if it has none.
    contents: usize,
    pub(super) size: u64,
}

impl Span {
    pub(super) fn new(
        context: &Arc<Context>,
        buffer: Retained<ProtocolObject<dyn MTLBuffer>>,
        lead: u64,
        size: u64,
        label: &str,
    ) -> Self {
        buffer.setLabel(Some(&NSString::from_str(label)));
        let contents = match buffer.storageMode() {
            MTLStorageMode::Shared => buffer.contents().as_ptr() as usize + lead as usize,
            _ => 0,
        };
        Self {
            context: Arc::clone(context),
            lead,
            address: buffer.gpuAddress() + lead,
            contents,
            size,
            buffer: Shared(buffer),
        }
    }

    pub(super) fn host(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.contents as *mut u8)
    }

    /// Sets a range by the CPU where it can see the memory, else by the GPU, and waits.
    ///
    /// # Safety
    /// Nobody else uses the range meanwhile.
    pub(super) unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        let len = within(&range, self.size)?;
        if len == 0 {
            return Ok(());
        }
        let Some(host) = self.host() else {
            return self.fill_by_gpu(range, byte, true);
        };
        // A warm-up that was not waited for must not overwrite this.
        self.context.finish_fills()?;
        // SAFETY: the range lies within the span, whose contents are mapped for as long as `self.buffer`
        // lives; that nobody else uses it is the caller's promise.
        unsafe {
            host.as_ptr().add(range.start as usize).write_bytes(byte, len as usize);
        }
        Ok(())
    }

    /// Copies a range of another span to `at`, by the GPU, and waits.
    pub(super) fn copy_from(&self, at: u64, from: &Self, range: Range<u64>) -> Result<(), DeviceError> {
        let target = copy_within(at, self.size, &range, from.size)?;
        if target.is_empty() {
            return Ok(());
        }
        let source = (&*from.buffer, range.start + from.lead);
        let target = (&*self.buffer, target.start + self.lead);
        pooled(|| self.context.copy(source, target, range.end - range.start))
    }

    /// The span of a heap or fallback buffer of this backend.
    pub(super) fn of(memory: &dyn Memory) -> Result<&Self, DeviceError> {
        let memory = memory.as_any();
        let heap = memory.downcast_ref::<MetalHeap>().map(MetalHeap::span);
        let span = heap.or_else(|| memory.downcast_ref::<MetalFallback>().map(MetalFallback::span));
        span.ok_or(DeviceError::ForeignMemory { device: "metal" })
    }

    pub(super) fn warm(&self, range: Range<u64>, resident: bool) -> Result<(), DeviceError> {
        if within(&range, self.size)? == 0 {
            return Ok(());
        }
        match self.context.options.warm_up {
            WarmUp::Residency if resident => Ok(()),
            WarmUp::Residency => self.fill_by_gpu(range, 0, true),
            WarmUp::Fill { wait } => self.fill_by_gpu(range, 0, wait),
        }
    }

    fn fill_by_gpu(&self, range: Range<u64>, byte: u8, wait: bool) -> Result<(), DeviceError> {
        let range = range.start + self.lead..range.end + self.lead;
        pooled(|| self.context.fill(&self.buffer, range, byte, wait))
    }
}

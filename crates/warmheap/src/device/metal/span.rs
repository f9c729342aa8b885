//! One MTLBuffer over a whole region: its address, its contents, and writes by the GPU.
//!
//! Heaps and fallback buffers share this code. It reads each fixed fact once, at creation, so that the hit
//! path makes no Objective-C call.
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSString;
use objc2_metal::{MTLBuffer, MTLCommandBuffer, MTLResource, MTLStorageMode};

use super::autorelease::pooled;
use super::context::Context;
use super::options::WarmUp;
use super::shared::Shared;
use crate::device::DeviceError;
use crate::device::memory::{copy_within, within};

#[derive(Debug)]
pub(super) struct Span {
    pub(super) context: Arc<Context>,
    pub(super) buffer: Shared<dyn MTLBuffer>,
    /// The bytes of the buffer before the region. They are 0 unless only a part of the buffer has the
    /// requested alignment.
    pub(super) lead: u64,
    pub(super) address: u64,
    /// The CPU's address of the region, or 0 if it has none.
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

    pub(super) fn host_ptr(&self) -> Option<NonNull<u8>> {
        NonNull::new(self.contents as *mut u8)
    }

    /// Sets all bytes of a range and waits. The CPU does this if it can see the memory, otherwise the GPU.
    ///
    /// # Safety
    /// Nothing else uses the range during the call.
    pub(super) unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        let len = within(&range, self.size)?;
        if len == 0 {
            return Ok(());
        }
        let Some(host) = self.host_ptr() else {
            return self.fill_by_gpu(range, byte, true);
        };
        // A warm-up that still runs must not overwrite these bytes.
        self.context.finish_fills();
        // SAFETY: the range lies within the span, whose contents are mapped as long as `self.buffer` lives.
        // The caller promises that nothing else uses the range.
        unsafe {
            host.as_ptr().add(range.start as usize).write_bytes(byte, len as usize);
        }
        Ok(())
    }

    /// Makes the GPU copy a range of another span to `at`, and waits.
    pub(super) fn copy_from(&self, at: u64, from: &Self, range: Range<u64>) -> Result<(), DeviceError> {
        let target = copy_within(at, self.size, &range, from.size)?;
        if target.is_empty() {
            return Ok(());
        }
        let source = (&*from.buffer, range.start + from.lead);
        let target = (&*self.buffer, target.start + self.lead);
        pooled(|| self.context.copy(source, target, range.end - range.start))
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

    /// See [`encode_zero`](super::encode_zero).
    pub(super) fn encode_zero(
        &self,
        commands: &ProtocolObject<dyn MTLCommandBuffer>,
        range: Range<u64>,
    ) -> Result<(), DeviceError> {
        if within(&range, self.size)? == 0 {
            return Ok(());
        }
        let range = range.start + self.lead..range.end + self.lead;
        pooled(|| self.context.encode_zero(commands, &self.buffer, range))
    }

    fn fill_by_gpu(&self, range: Range<u64>, byte: u8, wait: bool) -> Result<(), DeviceError> {
        let range = range.start + self.lead..range.end + self.lead;
        pooled(|| self.context.fill(&self.buffer, range, byte, wait))
    }
}

//! A fallback buffer: a buffer straight from the device, for a request that no heap could serve.
//!
//! It owns one MTLBuffer that lies in no heap. Otherwise it is like a heap.
#![allow(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use objc2::Message;
use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_metal::{MTLBuffer, MTLDevice};

use super::autorelease::pooled;
use super::context::Context;
use super::objects::ObjectPermit;
use super::placed::OwnBuffer;
use super::residency::Member;
use super::span::Span;
use super::span_of;
use crate::device::{DeviceError, Memory};

/// An MTLBuffer created by the device itself. Dropping it gives the memory back.
#[derive(Debug)]
pub struct MetalFallback {
    _member: Member,
    span: Span,
    _permit: ObjectPermit,
}

impl MetalFallback {
    pub(super) fn new(context: &Arc<Context>, size: u64, align: u64) -> Result<Self, DeviceError> {
        let permit = context.objects.take()?;
        pooled(|| {
            let mut buffer = create(context, size, 0)?;
            if !buffer.gpuAddress().is_multiple_of(align) {
                // Metal takes no alignment. A longer buffer contains a part that is aligned as requested.
                drop(buffer);
                buffer = create(context, size, align)?;
            }
            let lead = buffer.gpuAddress().next_multiple_of(align) - buffer.gpuAddress();
            let length = buffer.length() as u64;
            let span = Span::new(context, buffer, lead, size, "warmheap fallback");
            let member = context.residency.join_buffer(&span.buffer, length);
            Ok(Self { _member: member, span, _permit: permit })
        })
    }

    /// Returns the MTLBuffer.
    #[must_use]
    pub fn buffer(&self) -> &ProtocolObject<dyn MTLBuffer> {
        &self.span.buffer
    }

    /// Returns the bytes of the MTLBuffer before this memory. They are 0 unless the request had a larger
    /// alignment than Metal's own.
    #[must_use]
    pub fn lead(&self) -> u64 {
        self.span.lead
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn own_buffer(&self) -> Result<OwnBuffer, DeviceError> {
        if self.span.lead != 0 {
            return Err(DeviceError::Unsupported {
                what: "own MTLBuffers at alignments beyond Metal's own; bind the buffer with its offset",
            });
        }
        Ok(OwnBuffer::new(self.span.buffer.retain(), None))
    }
}

/// Creates a buffer of `size` plus `slack` bytes. Its length is whole words, so that the GPU can fill the
/// last one.
fn create(
    context: &Context,
    size: u64,
    slack: u64,
) -> Result<Retained<ProtocolObject<dyn MTLBuffer>>, DeviceError> {
    let length = size.saturating_add(slack).next_multiple_of(4);
    let largest = context.raw.maxBufferLength() as u64;
    if length > largest {
        return Err(DeviceError::TooLarge { requested: length, largest });
    }
    let made = context.raw.newBufferWithLength_options(length as usize, context.resource_options);
    made.ok_or_else(|| DeviceError::OutOfMemory { requested: size, available: Some(context.available()) })
}

// SAFETY: the place and length of an MTLBuffer are fixed. Its bytes belong to this memory alone. Its contents
// are mapped as long as it lives.
unsafe impl Memory for MetalFallback {
    fn device_address(&self) -> u64 {
        self.span.address
    }

    fn size(&self) -> u64 {
        self.span.size
    }

    fn host_ptr(&self) -> Option<NonNull<u8>> {
        self.span.host_ptr()
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.span.warm(range, false)
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps the contract of this method.
        unsafe { self.span.fill(range, byte) }
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        self.span.copy_from(at, span_of(from)?, range)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

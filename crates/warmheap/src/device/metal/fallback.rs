//! A buffer straight from the device, for what no heap could serve.
//!
//! Owns one MTLBuffer that lies in no heap; otherwise the same as a heap.
#![forbid(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use objc2::Message;
use objc2::runtime::ProtocolObject;
use objc2_metal::{MTLBuffer, MTLDevice};

use super::OwnBuffer;
use super::autorelease::pooled;
use super::context::Context;
use super::objects::ObjectPermit;
use super::residency::Member;
use super::span::Span;
use crate::device::{DeviceError, Memory};

/// An MTLBuffer made by the device itself. Dropping it gives the memory back.
#[derive(Debug)]
pub struct MetalFallback {
    _member: Member,
    span: Span,
    _permit: ObjectPermit,
}

impl MetalFallback {
    pub(super) fn new(context: &Arc<Context>, size: u64) -> Result<Self, DeviceError> {
        let permit = context.objects.take()?;
        pooled(|| {
            // Whole words, so that the GPU can fill the last bytes.
            let length = size.next_multiple_of(4);
            let buffer = context
                .raw
                .newBufferWithLength_options(length as usize, context.resource_options)
                .ok_or_else(|| DeviceError::OutOfMemory {
                requested: size,
                available: Some(context.available()),
            })?;
            let span = Span::new(context, buffer, size, "warmheap fallback");
            let member = context.residency.join_buffer(&span.buffer, length);
            Ok(Self { _member: member, span, _permit: permit })
        })
    }

    /// The MTLBuffer.
    #[must_use]
    pub fn buffer(&self) -> &ProtocolObject<dyn MTLBuffer> {
        &self.span.buffer
    }

    pub(super) fn own_buffer(&self) -> OwnBuffer {
        OwnBuffer::new(self.span.buffer.retain(), None)
    }
}

impl Memory for MetalFallback {
    fn address(&self) -> u64 {
        self.span.address
    }

    fn size(&self) -> u64 {
        self.span.size
    }

    fn host(&self) -> Option<NonNull<u8>> {
        self.span.host()
    }

    fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.span.warm(range, false)
    }

    fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        self.span.fill(range, byte)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

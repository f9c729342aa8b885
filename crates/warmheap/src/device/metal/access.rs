//! Converts memory and an offset, as the pool hands them out, to arguments of Metal calls.
//!
//! This module owns nothing. [`binding`] makes no Objective-C call. [`own_buffer`] makes calls unless the
//! object still exists from an earlier use of the same range.
#![forbid(unsafe_code)]

use std::any::Any;
use std::ops::Range;

use objc2::runtime::ProtocolObject;
use objc2_metal::{MTLBuffer, MTLCommandBuffer};

use super::{MetalFallback, MetalHeap, OwnBuffer, span_of};
use crate::device::{DeviceError, Memory};

/// The place of a range: the two arguments of `setBuffer:offset:atIndex:`.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The MTLBuffer over the whole heap, or the fallback's own.
    pub buffer: &'a ProtocolObject<dyn MTLBuffer>,
    /// The bytes from the start of `buffer`.
    pub offset: usize,
}

/// Returns the MTLBuffer and offset of byte `offset` of `memory`. Returns `None` if the memory is not
/// Metal's, or has no such byte.
#[must_use]
pub fn binding(memory: &dyn Memory, offset: u64) -> Option<Binding<'_>> {
    if offset >= memory.size() {
        return None;
    }
    let memory: &dyn Any = memory.as_any();
    let (buffer, lead) = if let Some(heap) = memory.downcast_ref::<MetalHeap>() {
        (heap.buffer(), 0)
    } else {
        let fallback = memory.downcast_ref::<MetalFallback>()?;
        (fallback.buffer(), fallback.lead())
    };
    Some(Binding { buffer, offset: (lead + offset) as usize })
}

/// Returns an MTLBuffer that is exactly `range` of `memory`, for code that takes no offsets.
///
/// `label` names a new object for Metal's tools. The object is valid as long as it is retained, but the
/// caller owns the range only until it frees the memory. So the caller must first drop every use of the
/// object, or free the memory under the ticket of the last use.
///
/// # Errors
/// - [`DeviceError::Unsupported`] for memory that is not Metal's, for heaps in which the driver chooses the
///   offsets, and for fallback memory with a larger alignment than Metal's own
/// - [`DeviceError::TooManyObjects`] at the object limit
/// - [`DeviceError::OutOfRange`] if `range` does not lie in the heap
/// - [`DeviceError::Failed`] if `range` does not start on the heap's alignment, or if Metal refuses
pub fn own_buffer(
    memory: &dyn Memory,
    range: Range<u64>,
    label: Option<&str>,
) -> Result<OwnBuffer, DeviceError> {
    let memory: &dyn Any = memory.as_any();
    if let Some(heap) = memory.downcast_ref::<MetalHeap>() {
        heap.own_buffer(range, label)
    } else if let Some(fallback) = memory.downcast_ref::<MetalFallback>() {
        fallback.own_buffer()
    } else {
        Err(DeviceError::Unsupported { what: "MTLBuffers over memory of another device" })
    }
}

/// Encodes into `commands` that the GPU clears `range` of `memory`. The CPU does not wait. No encoder may be
/// open.
///
/// # Errors
/// - [`DeviceError::ForeignMemory`] for memory that is not Metal's
/// - [`DeviceError::OutOfRange`] if `range` does not lie in the memory
/// - [`DeviceError::Failed`] if Metal refuses
pub fn encode_zero(
    memory: &dyn Memory,
    range: Range<u64>,
    commands: &ProtocolObject<dyn MTLCommandBuffer>,
) -> Result<(), DeviceError> {
    span_of(memory)?.encode_zero(commands, range)
}

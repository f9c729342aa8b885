//! From memory and an offset, as the pool hands them out, to what Metal calls take.
//!
//! Owns nothing. [`binding`] makes no Objective-C call; [`own_buffer`] makes one unless the object
//! is still there from an earlier use of the same range.
#![forbid(unsafe_code)]

use std::any::Any;
use std::ops::Range;

use objc2::runtime::ProtocolObject;
use objc2_metal::MTLBuffer;

use super::{MetalFallback, MetalHeap, OwnBuffer};
use crate::device::{DeviceError, Memory};

/// Where a range lies: the two arguments of `setBuffer:offset:atIndex:`.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The MTLBuffer over the whole heap, or the fallback's own.
    pub buffer: &'a ProtocolObject<dyn MTLBuffer>,
    /// Bytes from the start of `buffer`.
    pub offset: usize,
}

/// The MTLBuffer and offset of byte `offset` of `memory`; `None` if it is not Metal's, or has no such byte.
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

/// An MTLBuffer that is exactly `range` of `memory`, for code that takes no offsets.
///
/// `label` names a new object for Metal's tools. The object is valid as long as it is retained, but
/// the range is yours only until you free it: drop every use of the object first, or free under
/// the ticket of its last use.
///
/// # Errors
/// [`DeviceError::Unsupported`] for memory that is not Metal's, for heaps whose driver chooses
/// offsets, and for fallback memory at an alignment beyond Metal's own; [`DeviceError::TooManyObjects`] at
/// the object limit; [`DeviceError::OutOfRange`] if `range` does not end in the heap;
/// [`DeviceError::Failed`] if it starts off the heap's alignment or Metal refuses.
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

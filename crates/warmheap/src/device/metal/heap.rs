//! A heap: an MTLHeap with one MTLBuffer over all of it.
//!
//! It owns the MTLHeap, that buffer, and the MTLBuffers that callers requested over ranges. A lock serialises
//! the calls on the MTLHeap. A hit of the pool makes none.
#![allow(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use objc2::runtime::ProtocolObject;
use objc2_foundation::NSString;
use objc2_metal::{MTLBuffer, MTLDevice, MTLHeap, MTLHeapDescriptor, MTLPurgeableState, MTLResource};

use super::autorelease::pooled;
use super::context::Context;
use super::objects::ObjectPermit;
use super::options::{Placement, WarmUp};
use super::placed::{OwnBuffer, PlacedBuffers};
use super::residency::Member;
use super::shared::Shared;
use super::span::Span;
use super::span_of;
use crate::device::memory::within;
use crate::device::{Contents, DeviceError, HeapRequest, Memory};

/// An MTLHeap of the pool. Dropping it gives the memory back, once no MTLBuffer over a range of it is
/// retained any more.
#[derive(Debug)]
pub struct MetalHeap {
    // Fields are released in this order: first what lies in the heap, then the heap.
    member: Member,
    span: Span,
    locked: Mutex<Locked>,
    _permits: [ObjectPermit; 2],
}

/// The parts that are used under the lock only.
#[derive(Debug)]
struct Locked {
    placed: PlacedBuffers,
    heap: Shared<dyn MTLHeap>,
}

/// The driver's figures of a heap, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapUse {
    /// The heap's size, which Metal may have rounded up.
    pub size: u64,
    /// The bytes of live MTLBuffers. That is all of the heap, because one buffer covers it.
    pub used: u64,
    /// The memory that the heap takes now. It is 0 once the system has taken its pages.
    pub allocated: u64,
    /// The largest MTLBuffer that the driver could still place.
    pub largest_free: u64,
}

impl MetalHeap {
    pub(super) fn new(context: &Arc<Context>, request: &HeapRequest) -> Result<Self, DeviceError> {
        pooled(|| Self::create(context, request))
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    fn create(context: &Arc<Context>, request: &HeapRequest) -> Result<Self, DeviceError> {
        let permits = [context.objects.take()?, context.objects.take()?];
        let options = &context.options;
        let length = request.size as usize;
        // A buffer may need more memory than its length.
        let size =
            context.raw.heapBufferSizeAndAlignWithLength_options(length, context.resource_options).size;
        let descriptor = MTLHeapDescriptor::new();
        descriptor.setSize(size);
        descriptor.setStorageMode(options.storage_mode());
        descriptor.setCpuCacheMode(options.cache_mode());
        descriptor.setHazardTrackingMode(options.hazard_mode());
        descriptor.setType(options.heap_type());
        let out_of_memory =
            || DeviceError::OutOfMemory { requested: request.size, available: Some(context.available()) };
        let heap = context.raw.newHeapWithDescriptor(&descriptor).ok_or_else(out_of_memory)?;
        heap.setLabel(Some(&NSString::from_str(&request.label)));
        let buffer = match options.placement {
            // SAFETY: offset 0 is aligned, and the heap is as large as this buffer needs by the device's own
            // figure.
            Placement::Placement => unsafe {
                heap.newBufferWithLength_options_offset(length, context.resource_options, 0)
            },
            Placement::Automatic => heap.newBufferWithLength_options(length, context.resource_options),
        }
        .ok_or_else(out_of_memory)?;
        let span = Span::new(context, buffer, 0, request.size, &request.label);
        let member = context.residency.join_heap(&heap, size as u64);
        Ok(Self {
            member,
            span,
            locked: Mutex::new(Locked { placed: PlacedBuffers::default(), heap: Shared(heap) }),
            _permits: permits,
        })
    }

    /// Returns the MTLBuffer over the whole heap.
    #[must_use]
    pub fn buffer(&self) -> &ProtocolObject<dyn MTLBuffer> {
        &self.span.buffer
    }

    /// Returns the driver's figures of this heap. This makes Objective-C calls, so the hit path must not use
    /// it.
    #[must_use]
    pub fn usage(&self) -> HeapUse {
        let locked = self.lock();
        let heap = &locked.heap;
        HeapUse {
            size: heap.size() as u64,
            used: heap.usedSize() as u64,
            allocated: heap.currentAllocatedSize() as u64,
            largest_free: heap.maxAvailableSizeWithAlignment(0) as u64,
        }
    }

    /// See [`own_buffer`](super::own_buffer).
    pub(super) fn own_buffer(
        &self,
        range: Range<u64>,
        label: Option<&str>,
    ) -> Result<OwnBuffer, DeviceError> {
        let context = &self.span.context;
        if context.options.placement == Placement::Automatic {
            return Err(DeviceError::Unsupported {
                what: "own MTLBuffers in automatic heaps; use placement heaps, or the heap's buffer with an offset",
            });
        }
        self.lock().own_buffer(context, self.span.size, range, label)
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locked {
    fn own_buffer(
        &mut self,
        context: &Context,
        size: u64,
        range: Range<u64>,
        label: Option<&str>,
    ) -> Result<OwnBuffer, DeviceError> {
        within(&range, size)?;
        if let Some(buffer) = self.placed.reuse(&range) {
            return Ok(buffer);
        }
        let (offset, length) = (range.start as usize, (range.end - range.start) as usize);
        let options = context.resource_options;
        let need = context.raw.heapBufferSizeAndAlignWithLength_options(length, options);
        if offset % need.align != 0 {
            return Err(DeviceError::Failed {
                call: "newBufferWithLength:options:offset:",
                reason: format!(
                    "bytes {}..{} of a heap of {size} cannot be a buffer: it must start on a multiple of {}",
                    range.start, range.end, need.align
                ),
            });
        }
        let permit = self.placed.permit(&context.objects)?;
        pooled(|| {
            // SAFETY: the offset has the alignment that the device requires. The end of the buffer is within
            // the heap: the range is within it, the device rounds a buffer's size up to the alignment, and
            // both the heap's size and the range's end are multiples of that alignment.
            let buffer = unsafe { self.heap.newBufferWithLength_options_offset(length, options, offset) }
                .ok_or(DeviceError::OutOfMemory { requested: length as u64, available: None })?;
            if let Some(label) = label {
                buffer.setLabel(Some(&NSString::from_str(label)));
            }
            Ok(self.placed.keep(range, buffer, permit))
        })
    }
}

// SAFETY: the place and length of an MTLBuffer are fixed. Its bytes belong to this memory alone. Its contents
// are mapped as long as it lives.
unsafe impl Memory for MetalHeap {
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
        let wanted = self.span.context.options.warm_up == WarmUp::Residency;
        let resident = wanted && self.span.context.residency.commit_now();
        self.span.warm(range, resident)
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps the contract of this method.
        unsafe { self.span.fill(range, byte) }
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        self.span.copy_from(at, span_of(from)?, range)
    }

    /// A volatile heap leaves its residency set, which would keep it wired. MTLBuffers kept for reuse are
    /// dropped, as the contents are.
    unsafe fn set_volatile(&self, volatile: bool) -> Result<Contents, DeviceError> {
        let mut locked = self.lock();
        let state = if volatile {
            self.member.rest();
            locked.placed.clear();
            MTLPurgeableState::Volatile
        } else {
            MTLPurgeableState::NonVolatile
        };
        let before = locked.heap.setPurgeableState(state);
        if !volatile {
            self.member.rejoin();
        }
        Ok(match before {
            MTLPurgeableState::Empty => Contents::Lost,
            _ => Contents::Kept,
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

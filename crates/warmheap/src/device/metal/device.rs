//! The Metal device: what it can give, checked before anything is created.
//!
//! Owns the way from a request to a heap or buffer. Asks the device for every limit and computes
//! none; must never create an object that a limit already rules out.
#![forbid(unsafe_code)]

use std::sync::Arc;

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_metal::{
    MTLCommandBuffer, MTLCommandQueue, MTLComputeCommandEncoder, MTLCreateSystemDefaultDevice, MTLDevice,
};

use super::autorelease::pooled;
use super::context::Context;
use super::{MetalFallback, MetalHeap, MetalOptions, MetalQueue, ResidencyUse, Storage};
use crate::device::memory::sensible;
use crate::device::{Device, DeviceError, HeapKind, HeapRequest, Limits, Memory, ObjectCount};

/// A Metal GPU as a source of memory. Clones share it.
#[derive(Debug, Clone)]
pub struct MetalDevice {
    context: Arc<Context>,
    name: Arc<str>,
    fixed: Fixed,
}

/// Facts that do not change while the process runs.
#[derive(Debug, Clone, Copy)]
struct Fixed {
    alignment: u64,
    granularity: u64,
    largest_buffer: u64,
    working_set: u64,
}

impl MetalDevice {
    /// The system's default GPU.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] where there is none, as in most virtual machines.
    pub fn system_default(options: MetalOptions) -> Result<Self, DeviceError> {
        let raw = MTLCreateSystemDefaultDevice().ok_or(DeviceError::Unavailable {
            device: "metal",
            reason: "MTLCreateSystemDefaultDevice found no GPU for this process".into(),
        })?;
        Ok(Self::from_raw(raw, options))
    }

    /// An engine's own MTLDevice.
    #[must_use]
    pub fn from_raw(raw: Retained<ProtocolObject<dyn MTLDevice>>, options: MetalOptions) -> Self {
        pooled(|| {
            let name = format!("metal: {}", raw.name()).into();
            let context = Arc::new(Context::new(raw, options));
            Self { fixed: Fixed::ask(&context), name, context }
        })
    }

    /// The MTLDevice.
    #[must_use]
    pub fn raw(&self) -> &ProtocolObject<dyn MTLDevice> {
        &self.context.raw
    }

    /// Wraps an engine's own command queue, so that memory can be freed under its tickets. The
    /// heaps' residency sets are added to it.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] if Metal cannot make the event.
    pub fn queue(
        &self,
        raw: Retained<ProtocolObject<dyn MTLCommandQueue>>,
    ) -> Result<MetalQueue, DeviceError> {
        MetalQueue::new(&self.context.raw, Some(raw), &self.context.residency)
    }

    /// A new command queue of this device.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] if Metal cannot make the queue or its event.
    pub fn new_queue(&self) -> Result<MetalQueue, DeviceError> {
        MetalQueue::new(&self.context.raw, None, &self.context.residency)
    }

    /// Has `buffer` wait on the GPU until all fills so far are done: for the first work after a
    /// warm-up that was not waited for. The CPU does not wait. No encoder may be open.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] if Metal has no queue for fills.
    pub fn encode_wait_for_fills(
        &self,
        buffer: &ProtocolObject<dyn MTLCommandBuffer>,
    ) -> Result<(), DeviceError> {
        let fills = self.context.fills()?;
        fills.encode_wait(buffer, fills.last());
        Ok(())
    }

    /// Waits until all fills so far are done.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] if the GPU failed one.
    pub fn finish_fills(&self) -> Result<(), DeviceError> {
        self.context.finish_fills()
    }

    /// Makes all of this device's memory usable by `encoder` through addresses in argument
    /// buffers. Needed once per encoder where there are no residency sets (before macOS 15 and iOS
    /// 18); does nothing where there are, if the encoder's queue is a [`MetalQueue`].
    ///
    /// Heaps are declared by `useHeap:`, which promises Metal that they are only read. Memory
    /// written through an address needs `useResource:usage:` on its buffer in any case.
    pub fn use_memory(&self, encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>) {
        self.context.residency.use_memory(encoder);
    }

    /// What is resident now.
    #[must_use]
    pub fn residency(&self) -> ResidencyUse {
        self.context.residency.usage()
    }

    fn refuse(&self, size: u64, largest: u64) -> Result<(), DeviceError> {
        if size > largest {
            return Err(DeviceError::TooLarge { requested: size, largest });
        }
        let available = self.context.available();
        if size > available {
            return Err(DeviceError::OutOfMemory { requested: size, available: Some(available) });
        }
        Ok(())
    }

    /// One buffer spans a heap, so a heap is no larger than a buffer may be.
    fn largest_heap(&self) -> u64 {
        let Fixed { granularity, largest_buffer, working_set, .. } = self.fixed;
        largest_buffer.min(working_set) / granularity * granularity
    }
}

impl Fixed {
    fn ask(context: &Context) -> Self {
        let raw = &context.raw;
        let largest_buffer = raw.maxBufferLength();
        // Metal promises an alignment per length, not one for all lengths.
        let alignment = [1, 4 << 10, 64 << 10, 1 << 20, 64 << 20, largest_buffer]
            .into_iter()
            .filter(|length| *length <= largest_buffer)
            .map(|length| {
                raw.heapBufferSizeAndAlignWithLength_options(length, context.resource_options).align
            })
            .max()
            .unwrap_or(1) as u64;
        Self {
            alignment,
            granularity: alignment.max(rustix::param::page_size() as u64),
            largest_buffer: largest_buffer as u64,
            working_set: raw.recommendedMaxWorkingSetSize(),
        }
    }
}

impl Device for MetalDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> Limits {
        Limits {
            alignment: self.fixed.alignment,
            granularity: self.fixed.granularity,
            largest_heap: self.largest_heap(),
            largest_buffer: self.fixed.largest_buffer,
            budget: Some(self.fixed.working_set),
            available: Some(self.context.available()),
            elastic: false,
            host_visible: self.context.options.storage == Storage::Shared,
            // True of a device's buffers, but not of a heap's.
            zeroed: false,
        }
    }

    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError> {
        if request.kind == HeapKind::Elastic {
            return Err(DeviceError::Unsupported { what: "heaps that grow in place" });
        }
        sensible(request.size, self.fixed.alignment)?;
        self.refuse(request.size, self.largest_heap())?;
        Ok(Box::new(MetalHeap::new(&self.context, request)?))
    }

    fn allocate(&self, size: u64, align: u64) -> Result<Box<dyn Memory>, DeviceError> {
        sensible(size, align)?;
        self.refuse(size, self.fixed.largest_buffer)?;
        Ok(Box::new(MetalFallback::new(&self.context, size, align)?))
    }

    fn objects(&self) -> Option<ObjectCount> {
        Some(self.context.objects.count())
    }
}

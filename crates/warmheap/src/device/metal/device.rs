//! The Metal device. It checks its limits before it creates anything.
//!
//! This module turns requests into heaps and buffers. It takes every limit from the device. It must never
//! create an object that a limit already rules out.
#![forbid(unsafe_code)]

use std::sync::Arc;

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_metal::{
    MTLCommandBuffer, MTLCommandQueue, MTLComputeCommandEncoder, MTLCreateSystemDefaultDevice, MTLDevice,
};

use super::autorelease::pooled;
use super::context::Context;
use super::support::check;
use super::{MetalFallback, MetalHeap, MetalOptions, MetalQueue, ResidencyUse, Storage};
use crate::device::memory::sensible;
use crate::device::{Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory, ObjectCount};

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
    /// Opens the system's default GPU.
    ///
    /// # Errors
    /// - [`DeviceError::Unavailable`] if there is none, as in most virtual machines
    /// - as [`MetalDevice::from_raw`]
    pub fn system_default(options: MetalOptions) -> Result<Self, DeviceError> {
        let raw = MTLCreateSystemDefaultDevice().ok_or(DeviceError::Unavailable {
            device: "metal",
            reason: "MTLCreateSystemDefaultDevice found no GPU for this process".into(),
        })?;
        Self::from_raw(raw, options)
    }

    /// Wraps an engine's own MTLDevice.
    ///
    /// # Errors
    /// - [`DeviceError::Unavailable`] before macOS 13 and iOS 16
    /// - [`DeviceError::Unsupported`] if the GPU has no heaps of the kind that the options name. Metal itself
    ///   would end the process.
    /// - [`DeviceError::OutOfMemory`] if Metal has no memory for one small buffer
    pub fn from_raw(
        raw: Retained<ProtocolObject<dyn MTLDevice>>,
        options: MetalOptions,
    ) -> Result<Self, DeviceError> {
        pooled(|| {
            check(&raw, &options)?;
            let name = format!("metal: {}", raw.name()).into();
            let context = Arc::new(Context::new(raw, options));
            Ok(Self { fixed: Fixed::ask(&context), name, context })
        })
    }

    /// Returns the MTLDevice.
    #[must_use]
    pub fn raw(&self) -> &ProtocolObject<dyn MTLDevice> {
        &self.context.raw
    }

    /// Wraps an engine's own command queue, so that memory can be freed under its tickets. The residency sets
    /// of the device are added to it.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] if Metal cannot create the event.
    pub fn queue(
        &self,
        raw: Retained<ProtocolObject<dyn MTLCommandQueue>>,
    ) -> Result<MetalQueue, DeviceError> {
        MetalQueue::new(&self.context.raw, Some(raw), &self.context.queues)
    }

    /// Creates a new command queue of this device.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] if Metal cannot create the queue or its event.
    pub fn new_queue(&self) -> Result<MetalQueue, DeviceError> {
        MetalQueue::new(&self.context.raw, None, &self.context.queues)
    }

    /// Makes `buffer` wait on the GPU until all fills so far are done. The first work after a warm-up with
    /// `wait: false` needs this. The CPU does not wait. No encoder may be open.
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
    /// [`DeviceError::Failed`] for the first fill that failed on the GPU since the last call.
    pub fn finish_fills(&self) -> Result<(), DeviceError> {
        self.context.check_fills()
    }

    /// Lets `encoder` use all of this device's memory through addresses in argument buffers.
    ///
    /// Without residency sets (before macOS 15 and iOS 18), each encoder needs this once. With them it does
    /// nothing, if the encoder's queue is a [`MetalQueue`].
    ///
    /// This declares heaps with `useHeap:`, which promises Metal that work only reads them. If work writes
    /// memory through an address, its buffer also needs `useResource:usage:`.
    pub fn use_memory(&self, encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>) {
        self.context.residency.use_memory(encoder);
    }

    /// Records that work uses this device's memory now. Submissions of a [`MetalQueue`] do this by themselves.
    /// A program that has made memory purgeable calls this before work on other queues, so that the memory
    /// in use is resident again.
    pub fn note_use(&self) {
        self.context.residency.before_work();
    }

    /// Returns what is resident now.
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

    /// Returns the size of the largest heap. One buffer covers a heap, so a heap is no larger than a buffer
    /// may be.
    fn largest_heap(&self) -> u64 {
        let Fixed { granularity, largest_buffer, working_set, .. } = self.fixed;
        largest_buffer.min(working_set) / granularity * granularity
    }
}

impl Fixed {
    fn ask(context: &Context) -> Self {
        let raw = &context.raw;
        let largest_buffer = raw.maxBufferLength();
        // Metal names an alignment for each length, not one for all lengths.
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

    fn limits(&self) -> DeviceLimits {
        DeviceLimits {
            alignment: self.fixed.alignment,
            granularity: self.fixed.granularity,
            largest_heap: self.largest_heap(),
            largest_buffer: self.fixed.largest_buffer,
            budget: Some(self.fixed.working_set),
            available: Some(self.context.available()),
            elastic: false,
            host_visible: self.context.options.storage == Storage::Shared,
            // Buffers of the device are zeroed, but heaps are not.
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

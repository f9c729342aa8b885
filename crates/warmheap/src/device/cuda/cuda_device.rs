//! A CUDA device as a source of memory.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::CUdevice_attribute;

use super::block::{self, Block, Source};
use super::context::{self, Context};
use super::queue::CudaQueue;
use super::region::{Pieces, Region};
use crate::device::memory::sensible;
use crate::device::{Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory};

/// The least alignment that kernels and copies need. The driver's own blocks have at least as much.
const ALIGNMENT: u64 = 256;
/// The granularity of devices without virtual memory management.
const PLAIN_GRANULE: u64 = 2 << 20;

/// One NVIDIA GPU of this process, with the driver's number.
///
/// It shares the device's primary context with the CUDA runtime, so any library in the process can use its
/// memory. Cloning is cheap. Any thread may use it, with any CUDA context current or none, and every call
/// leaves the current context unchanged.
///
/// ```no_run
/// use std::sync::Arc;
/// use warmheap::device::cuda::CudaDevice;
/// use warmheap::{Pool, PoolConfig};
///
/// let pool = Pool::new(Arc::new(CudaDevice::open(0)?), PoolConfig::elastic())?;
/// let weights = pool.allocate(64 << 20)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CudaDevice {
    context: Arc<Context>,
    /// The memory of growing heaps, if the device can map memory under reserved addresses.
    pieces: Option<Arc<Pieces>>,
    /// The driver calls for fallback buffers.
    fallback: Source,
}

impl CudaDevice {
    /// Returns the number of devices that the driver shows to this process.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] without a usable driver. The error says what was tried.
    pub fn count() -> Result<u32, DeviceError> {
        context::device_count().map(|n| n.max(0) as u32)
    }

    /// Opens device `ordinal`, counting from 0.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] without a usable driver or without such a device. The error says what was
    /// tried. Other errors are the driver's.
    pub fn open(ordinal: u32) -> Result<Self, DeviceError> {
        Self::open_shared(ordinal, &[])
    }

    /// As [`CudaDevice::open`], but the devices `peers` can also read and write growing heaps, so that copies
    /// between GPUs are direct. A peer that this device cannot reach is left out. Each peer makes committing
    /// memory slower.
    ///
    /// # Errors
    /// As [`CudaDevice::open`].
    pub fn open_shared(ordinal: u32, peers: &[u32]) -> Result<Self, DeviceError> {
        let context = Context::open(ordinal)?;
        let peers: Vec<i32> = peers
            .iter()
            .filter_map(|&peer| i32::try_from(peer).ok())
            .filter(|&peer| peer != context.ordinal && context.can_access(peer))
            .collect();
        let virtual_memory = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED;
        let pieces = if context.attribute(virtual_memory) != 0 {
            Some(Arc::new(Pieces::new(&context, &peers)?))
        } else {
            None
        };
        Ok(Self { context: Arc::new(context), pieces, fallback: Source::Plain })
    }

    /// Makes this device take fallback buffers from the driver's own pool (`cuMemAllocAsync`), which keeps
    /// freed memory. That is far cheaper than plain allocation. It is safe only for programs whose work is
    /// ordered before later work on the default stream.
    ///
    /// # Errors
    /// The driver's error, on devices without memory pools.
    pub fn stream_ordered(mut self) -> Result<Self, DeviceError> {
        block::keep_freed(&self.context)?;
        self.fallback = Source::Ordered;
        Ok(self)
    }

    /// Creates a queue for the work on `stream`, a `cudaStream_t` or `CUstream` of this device. Null is the
    /// default stream.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] if there is no memory for the queue's counter, which takes 8 bytes of
    /// pinned host memory.
    ///
    /// # Safety
    /// The stream exists as long as the queue and everything that waits for it.
    pub unsafe fn queue(&self, stream: *mut c_void) -> Result<CudaQueue, DeviceError> {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { CudaQueue::new(Arc::clone(&self.context), stream.cast()) }
    }

    /// Returns whether a CUDA graph is being captured on `stream`.
    ///
    /// # Errors
    /// The driver's error.
    ///
    /// # Safety
    /// The stream exists.
    pub unsafe fn is_capturing(&self, stream: *mut c_void) -> Result<bool, DeviceError> {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { self.context.is_capturing(stream.cast()) }
    }

    /// Waits until all work on the device is done.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] if some of the work failed.
    pub fn synchronize(&self) -> Result<(), DeviceError> {
        self.context.enter()?.synchronize()
    }
}

impl Device for CudaDevice {
    fn name(&self) -> &str {
        &self.context.name
    }

    fn limits(&self) -> DeviceLimits {
        let total = self.context.total;
        let granularity = self.pieces.as_ref().map_or(PLAIN_GRANULE, |p| p.granularity);
        DeviceLimits {
            alignment: ALIGNMENT,
            granularity,
            // Addresses are plentiful. With twice as many as memory, a heap can grow past addresses that were
            // decommitted.
            largest_heap: if self.pieces.is_some() {
                (2 * total).next_multiple_of(granularity)
            } else {
                total - total % granularity
            },
            largest_buffer: total,
            budget: Some(total),
            available: self.context.available(),
            elastic: self.pieces.is_some(),
            host_visible: false,
            zeroed: false,
        }
    }

    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError> {
        sensible(request.size, ALIGNMENT)?;
        let limits = self.limits();
        if request.size > limits.largest_heap {
            return Err(DeviceError::TooLarge { requested: request.size, largest: limits.largest_heap });
        }
        let context = Arc::clone(&self.context);
        match (request.kind, &self.pieces) {
            (HeapKind::Fixed, _) => {
                Ok(Box::new(Block::allocate(context, Source::Plain, request.size, ALIGNMENT)?))
            }
            (HeapKind::Elastic, Some(pieces)) => {
                Ok(Box::new(Region::reserve(context, Arc::clone(pieces), request.size)?))
            }
            (HeapKind::Elastic, None) => {
                Err(DeviceError::Unsupported { what: "elastic heaps: it has no virtual memory management" })
            }
        }
    }

    fn allocate(&self, size: u64, align: u64) -> Result<Box<dyn Memory>, DeviceError> {
        sensible(size, align)?;
        let context = Arc::clone(&self.context);
        Ok(Box::new(Block::allocate(context, self.fallback, size, align)?))
    }
}

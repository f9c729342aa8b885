//! A device that keeps the heaps it gets back, and serves later requests with them.
//!
//! A captured graph writes to the same addresses at each replay, whatever became of the buffers there. Memory
//! under a graph may therefore go from buffer to buffer, but not back to the driver. The kept heaps go back
//! when the keeper and the last of its heaps are gone.

use std::any::Any;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use warmheap::device::cuda::CudaDevice;
use warmheap::device::{Device, DeviceError, DeviceLimits, HeapRequest, Memory};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Keeper {
    device: CudaDevice,
    kept: Arc<Kept>,
    /// Bytes taken from the device, summed over several keepers.
    reserved: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<Box<dyn Memory>>>);

/// A heap that returns to its keeper.
#[derive(Debug)]
struct Lent {
    /// The heap; `None` only during the drop.
    memory: Option<Box<dyn Memory>>,
    kept: Arc<Kept>,
}

impl Keeper {
    pub(super) fn new(device: CudaDevice, reserved: Arc<AtomicU64>) -> Self {
        Self { device, kept: Arc::default(), reserved }
    }

    /// Maps memory instead of allocating it, because the driver refuses `cuMemAlloc` during a capture.
    fn map(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError> {
        let memory = self.device.create_heap(&HeapRequest::elastic(request.size, &*request.label))?;
        // SAFETY: nothing of a new heap is committed.
        unsafe { memory.commit(0..request.size) }?;
        self.reserved.fetch_add(request.size, Ordering::Relaxed);
        Ok(memory)
    }
}

impl Device for Keeper {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn limits(&self) -> DeviceLimits {
        // The pool would take pages out of heaps that grow in place.
        let mut limits = self.device.limits();
        limits.elastic = false;
        limits
    }

    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError> {
        let memory = match self.kept.take(request.size) {
            Some(memory) => memory,
            None => self.map(request)?,
        };
        Ok(Box::new(Lent { memory: Some(memory), kept: Arc::clone(&self.kept) }))
    }

    fn allocate(&self, _size: u64, _align: u64) -> Result<Box<dyn Memory>, DeviceError> {
        Err(DeviceError::Unsupported { what: "single buffers under a CUDA graph" })
    }
}

impl Kept {
    /// Takes the smallest heap that has `size` bytes.
    fn take(&self, size: u64) -> Option<Box<dyn Memory>> {
        let mut kept = self.lock();
        let fitting = kept.iter().enumerate().filter(|(_, memory)| memory.size() >= size);
        let (place, _) = fitting.min_by_key(|(_, memory)| memory.size())?;
        Some(kept.swap_remove(place))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Box<dyn Memory>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    fn memory(&self) -> &dyn Memory {
        self.memory.as_deref().expect("present until the drop")
    }
}

// SAFETY: it owns the memory that it lends, and describes only that memory.
unsafe impl Memory for Lent {
    fn device_address(&self) -> u64 {
        self.memory().device_address()
    }

    fn size(&self) -> u64 {
        self.memory().size()
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.memory().warm(range) }
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.memory().fill(range, byte) }
    }

    fn as_any(&self) -> &dyn Any {
        self.memory().as_any()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.kept.lock().extend(self.memory.take());
    }
}

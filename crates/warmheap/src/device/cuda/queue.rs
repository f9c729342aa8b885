//! Streams as queues. Each has a counter in host memory, which the GPU raises as its work completes.
//!
//! One [`CudaQueue::signal`] covers everything freed before it, so a free needs no call. Reading the progress
//! of the stream is one read of memory. Nothing here makes the stream wait.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cudarc::driver::sys::{self, CUdevice_attribute, CUdeviceptr, CUstream};

use super::context::Context;
use crate::device::{DeviceError, Queue};

/// A stream and its progress.
#[derive(Debug)]
pub struct CudaQueue {
    context: Arc<Context>,
    stream: Stream,
    counter: Counter,
    /// The last value signalled. The lock is held during the driver's call, so that values rise in stream
    /// order.
    signalled: Mutex<u64>,
    /// Whether the GPU can write the counter itself. Otherwise the driver calls a function on one of its
    /// threads.
    writes: bool,
}

#[derive(Debug, Clone, Copy)]
struct Stream(CUstream);

// SAFETY: the driver's stream handles may be used from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

/// Eight bytes of pinned host memory that CPU and GPU see.
#[derive(Debug)]
struct Counter {
    context: Arc<Context>,
    host: NonNull<AtomicU64>,
    device: CUdeviceptr,
}

// SAFETY: the pointer is to an atomic that lives as long as the counter.
unsafe impl Send for Counter {}
// SAFETY: as above.
unsafe impl Sync for Counter {}

impl CudaQueue {
    /// # Safety
    /// The stream belongs to the context's device and outlives the queue.
    pub(super) unsafe fn new(context: Arc<Context>, stream: CUstream) -> Result<Self, DeviceError> {
        let writes = CUdevice_attribute::CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS;
        Ok(Self {
            counter: Counter::new(Arc::clone(&context))?,
            writes: context.attribute(writes) != 0,
            context,
            stream: Stream(stream),
            signalled: Mutex::new(0),
        })
    }

    /// Marks this point of the stream. The returned value has [completed](Queue::completed) once all work
    /// submitted before this call is done.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] while a graph is captured on the stream. The mark would become part of
    /// the graph, and would be written at each replay.
    pub fn signal(&self) -> Result<u64, DeviceError> {
        self.context.here()?;
        let mut signalled = self.signalled.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the stream exists by the promise of `new`.
        if unsafe { self.context.is_capturing(self.stream.0) }? {
            return Err(DeviceError::Unsupported {
                what: "marking a stream while a CUDA graph is captured on it",
            });
        }
        let value = *signalled + 1;
        let _entered = self.context.enter()?;
        let (call, status) = if self.writes {
            // SAFETY: the counter is 8 aligned bytes that live until all writes are done, because drop waits.
            // Flag 0 orders the write after the work before it.
            let status =
                unsafe { sys::cuStreamWriteValue64_v2(self.stream.0, self.counter.device, value, 0) };
            ("cuStreamWriteValue64", status)
        } else {
            let counter = self.counter.host.as_ptr().cast::<c_void>();
            // SAFETY: `raise` makes no CUDA call. The counter lives until it has run, because drop waits.
            let status = unsafe { sys::cuLaunchHostFunc(self.stream.0, Some(raise), counter) };
            ("cuLaunchHostFunc", status)
        };
        self.context.check(call, status)?;
        *signalled = value;
        Ok(value)
    }

    fn lost(&self) -> DeviceError {
        DeviceError::Lost { reason: format!("an earlier call on {} reported it", self.context.name) }
    }
}

impl Queue for CudaQueue {
    fn completed(&self) -> Result<u64, DeviceError> {
        // The counter is not mapped in a child.
        self.context.here()?;
        if self.context.is_lost() {
            return Err(self.lost());
        }
        Ok(self.counter.get())
    }

    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        let start = Instant::now();
        while self.completed()? < value {
            if start.elapsed() >= timeout {
                // A lost device is only noticed by a call to the driver.
                self.context.available();
                return if self.context.is_lost() { Err(self.lost()) } else { Ok(false) };
            }
            // Work on a GPU takes tens of microseconds or more, so spinning would waste a core.
            std::thread::sleep(Duration::from_micros(20));
        }
        Ok(true)
    }
}

/// Raises the counter. The driver calls this on one of its threads when the stream reaches the mark.
unsafe extern "C" fn raise(counter: *mut c_void) {
    // SAFETY: `signal` passed this pointer to an atomic that outlives the call.
    unsafe { &*counter.cast::<AtomicU64>() }.fetch_add(1, Ordering::Release);
}

impl Counter {
    fn new(context: Arc<Context>) -> Result<Self, DeviceError> {
        const BYTES: usize = size_of::<AtomicU64>();
        let entered = context.enter()?;
        let mut host: *mut c_void = std::ptr::null_mut();
        // SAFETY: the call writes to a local, and the context is current.
        let status = unsafe {
            let flags = sys::CU_MEMHOSTALLOC_DEVICEMAP | sys::CU_MEMHOSTALLOC_PORTABLE;
            sys::cuMemHostAlloc(&mut host, BYTES, flags)
        };
        context.check_memory("cuMemHostAlloc", status, BYTES as u64)?;
        let Some(host) = NonNull::new(host.cast::<AtomicU64>()) else {
            return Err(DeviceError::Failed {
                call: "cuMemHostAlloc",
                reason: "it returned a null pointer".into(),
            });
        };
        // SAFETY: these are 8 bytes of page-aligned memory that nothing else uses.
        unsafe { host.write(AtomicU64::new(0)) };
        drop(entered);
        let mut counter = Self { context, host, device: 0 };
        let context = Arc::clone(&counter.context);
        let _entered = context.enter()?;
        // SAFETY: the call writes to a field, and the memory was allocated as mapped.
        context.check("cuMemHostGetDevicePointer", unsafe {
            sys::cuMemHostGetDevicePointer_v2(&mut counter.device, host.as_ptr().cast(), 0)
        })?;
        Ok(counter)
    }

    fn get(&self) -> u64 {
        // SAFETY: the atomic lives as long as self.
        unsafe { self.host.as_ref() }.load(Ordering::Acquire)
    }
}

impl Drop for CudaQueue {
    fn drop(&mut self) {
        let signalled = *self.signalled.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The GPU must not write into freed memory. A lost context writes nothing more.
        while self.wait(signalled, Duration::from_secs(1)) == Ok(false) {}
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Ok(_entered) = self.context.enter() {
            // SAFETY: the memory is from cuMemHostAlloc, and is freed once.
            let status = unsafe { sys::cuMemFreeHost(self.host.as_ptr().cast()) };
            let _ = self.context.check("cuMemFreeHost", status);
        }
    }
}

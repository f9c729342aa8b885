//! The memory of CUDA graphs.
//!
//! PyTorch names a private pool when it captures a graph. Until the capture ends, everything allocated on a
//! capturing stream belongs to that private pool. A buffer freed meanwhile may serve the same capture, or a
//! later one into the same private pool. It serves nothing else until PyTorch says that the private pool's
//! last graph is gone. Each stream has its own pool inside a private pool, too.
//!
//! During a capture nothing here may wait for the device, because that would break the capture.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use warmheap::device::cuda::CudaDevice;
use warmheap::{AllocError, Buffer, Pool, PoolConfig, Request};

use super::arena::Arenas;
use super::keeper::Keeper;

/// One of PyTorch's private pools: `c10::cuda::MempoolId_t`.
/// Since 0.1, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub struct warmheap_pool_id {
    /// The number has no meaning to Warmheap.
    pub first: u64,
    /// The number has no meaning to Warmheap.
    pub second: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Graphs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    private: Vec<Private>,
    capture: Option<Capture>,
}

/// One of PyTorch's private pools.
#[derive(Debug)]
struct Private {
    id: warmheap_pool_id,
    /// The captures into it that began, less those whose graph is gone.
    graphs: usize,
    arenas: Arenas,
    reserved: Arc<AtomicU64>,
}

/// The capture that is under way.
#[derive(Debug)]
struct Capture {
    id: warmheap_pool_id,
    /// The streams of the capture that have allocated.
    streams: Vec<usize>,
}

impl Graphs {
    /// Begins a capture into private pool `id`. Returns `false` if another capture is under way.
    pub(super) fn begin(&self, device: &CudaDevice, id: warmheap_pool_id) -> bool {
        let mut state = self.lock();
        if state.is_capturing(device) {
            return false;
        }
        state.sweep();
        state.capture = Some(Capture { id, streams: Vec::new() });
        match state.private.iter_mut().find(|private| private.id == id) {
            Some(known) => known.graphs += 1,
            None => state.private.push(Private {
                id,
                graphs: 1,
                arenas: Arenas::default(),
                reserved: Arc::default(),
            }),
        }
        true
    }

    /// Ends the capture into private pool `id`.
    pub(super) fn end(&self, id: warmheap_pool_id) {
        let mut state = self.lock();
        state.capture.take_if(|capture| capture.id == id);
    }

    /// Notes that one graph of private pool `id` is gone.
    pub(super) fn release(&self, device: &CudaDevice, id: warmheap_pool_id) {
        let mut state = self.lock();
        if let Some(private) = state.private.iter_mut().find(|private| private.id == id) {
            private.graphs = private.graphs.saturating_sub(1);
        }
        if !state.is_capturing(device) {
            state.sweep();
        }
    }

    /// Allocates memory for a stream that is capturing. Returns `None` if no capture was announced.
    pub(super) fn allocate(
        &self,
        device: &CudaDevice,
        size: u64,
        stream: usize,
    ) -> Option<Result<Buffer, AllocError>> {
        let mut state = self.lock();
        let State { private, capture } = &mut *state;
        let Capture { id, streams } = capture.as_mut()?;
        if !streams.contains(&stream) {
            streams.push(stream);
        }
        let private = private.iter().find(|private| private.id == *id)?;
        let make = || {
            let keeper = Keeper::new(device.clone(), Arc::clone(&private.reserved));
            Pool::new(Arc::new(keeper), PoolConfig::elastic().with_log_exhaustion(false))
        };
        // A pool that sizes itself holds no memory at first, so opening it cannot fail.
        let pool = private.arenas.of(stream, make).ok()?;
        Some(pool.allocate(Request::new(size).no_fallback()))
    }

    /// Returns whether a capture is under way. If none is, removes the private pools that are unused.
    pub(super) fn tidy(&self, device: &CudaDevice) -> bool {
        let mut state = self.lock();
        let capturing = state.is_capturing(device);
        if !capturing {
            state.sweep();
        }
        capturing
    }

    /// Returns the bytes held for graphs.
    pub(super) fn reserved(&self) -> u64 {
        self.lock().private.iter().map(|private| private.reserved.load(Ordering::Relaxed)).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether a stream of the capture is still capturing. PyTorch does not announce the end of a
    /// capture that failed, so the streams are asked.
    fn is_capturing(&self, device: &CudaDevice) -> bool {
        let capturing = |stream: &usize| {
            // SAFETY: PyTorch never destroys the streams it hands out.
            unsafe { device.is_capturing(*stream as *mut c_void) }.unwrap_or(false)
        };
        self.capture.iter().flat_map(|capture| &capture.streams).any(capturing)
    }

    /// Removes the private pools without graphs and without buffers.
    fn sweep(&mut self) {
        let used = |private: &Private| {
            private.arenas.iter().any(|arena| arena.pool.statistics().active_allocations > 0)
        };
        self.private.retain(|private| private.graphs > 0 || used(private));
    }
}

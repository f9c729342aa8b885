//! One GPU: its pools, the buffers that PyTorch holds, freed buffers that other streams use, and graphs.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, OnceLock};

use warmheap::device::cuda::CudaDevice;
use warmheap::device::{Device, DeviceError};
use warmheap::fork::FirstUse;
use warmheap::{AllocError, Pool, PoolConfig, Request};

use super::arena::{Arena, Arenas};
use super::graphs::{Graphs, warmheap_pool_id};
use super::guests::Guests;
use super::live::{Held, Live};

/// The most GPUs that one process may use.
const GPUS: usize = 64;
static ALL: [OnceLock<Result<Gpu, String>>; GPUS] = [const { OnceLock::new() }; GPUS];

/// The error for a program that captures a graph without PyTorch's hooks.
const UNANNOUNCED: &str = "a CUDA graph is being captured on this stream and Warmheap was not told: capture \
    with torch.cuda.graph, with all three hooks for private pools set (docs/pytorch.md)";
const ONE_AT_A_TIME: &str = "another CUDA graph is being captured on this GPU: Warmheap serves one capture at a \
    time for each device";

/// The process that uses GPUs. CUDA does not work in its children, so nothing here works in them.
static HOME: FirstUse = FirstUse::new();

/// The settings that the program gave.
static SETTLED: OnceLock<PoolConfig> = OnceLock::new();

/// Sets the configuration of the pools of every GPU, in place of the file that `WARMHEAP_CONFIG` names. The
/// variables `WARMHEAP_<KEY>` still override it. Bindings call this once, before the first allocation.
/// Returns `false`, and changes nothing, if there is a configuration already.
#[must_use]
pub fn configure(config: PoolConfig) -> bool {
    SETTLED.set(config).is_ok()
}

fn place(ordinal: c_int) -> Option<&'static OnceLock<Result<Gpu, String>>> {
    ALL.get(usize::try_from(ordinal).ok()?)
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Gpu {
    pub(super) device: CudaDevice,
    config: PoolConfig,
    arenas: Arenas,
    live: Live,
    guests: Guests,
    graphs: Graphs,
}

/// The reason that an allocation failed.
#[derive(Debug)]
pub(super) enum Refusal {
    OutOfMemory(String),
    Other(String),
}

impl Gpu {
    /// Returns the GPU with PyTorch's number `ordinal`, and opens it at its first use.
    pub(super) fn at(ordinal: c_int) -> Result<&'static Self, String> {
        HOME.take().map_err(|forked| forked.to_string())?;
        let place =
            place(ordinal).ok_or_else(|| format!("device {ordinal} is not one of 0 to {}", GPUS - 1))?;
        place.get_or_init(|| Self::open(ordinal as u32)).as_ref().map_err(Clone::clone)
    }

    /// Returns the GPUs that are open. There are none in a child of the process that opened them.
    pub(super) fn opened() -> impl Iterator<Item = &'static Self> {
        ALL.iter().filter(|_| HOME.is_here()).filter_map(|place| place.get()?.as_ref().ok())
    }

    /// Returns the GPU with PyTorch's number `ordinal`, if it is open.
    pub(super) fn opened_at(ordinal: c_int) -> Option<&'static Self> {
        place(ordinal).filter(|_| HOME.is_here())?.get()?.as_ref().ok()
    }

    /// Frees the buffer at `address`, on any GPU, or does nothing if that is not one of ours.
    pub(super) fn free_anywhere(address: u64, ordinal: c_int) {
        // PyTorch names the right GPU, so the others are seldom searched.
        let freed = Self::opened_at(ordinal).is_some_and(|gpu| gpu.free(address));
        let _ = freed || Self::opened().any(|gpu| gpu.free(address));
    }

    fn open(ordinal: u32) -> Result<Self, String> {
        // Autograd's threads free what the program's thread allocated, so thread-owned heaps would not help.
        let unset = PoolConfig::elastic().with_thread_heaps(false);
        let config = match SETTLED.get() {
            Some(config) => Ok(config.clone()),
            None => unset.with_environment_file(),
        };
        let config = config.and_then(PoolConfig::with_environment).map_err(|e| e.to_string())?;
        let open = || {
            let all: Vec<u32> = (0..CudaDevice::count()?).collect();
            CudaDevice::open_shared(ordinal, &all)
        };
        Ok(Self {
            device: open().map_err(|e| e.to_string())?,
            config,
            arenas: Arenas::default(),
            live: Live::default(),
            guests: Guests::default(),
            graphs: Graphs::default(),
        })
    }

    /// Allocates memory for work on `stream` and returns its address.
    pub(super) fn allocate(&self, size: u64, stream: usize) -> Result<u64, Refusal> {
        // SAFETY: PyTorch's streams exist while it allocates for them.
        let buffer = if unsafe { self.device.is_capturing(stream as *mut c_void) }? {
            let buffer = self.graphs.allocate(&self.device, size, stream);
            buffer.ok_or_else(|| Refusal::Other(UNANNOUNCED.into()))?
        } else {
            self.guests.let_go();
            let make = || Pool::new(Arc::new(self.device.clone()), self.config.clone());
            let pool = self.arenas.of(stream, make).map_err(|e| Refusal::Other(e.to_string()))?;
            match pool.allocate(Request::new(size).no_fallback()) {
                // The memory that other streams hold and do not use may be enough.
                Err(AllocError::OutOfMemory(_)) => {
                    self.trim()?;
                    pool.allocate(size)
                }
                other => other,
            }
        };
        match buffer {
            Ok(buffer) => Ok(self.live.hold(buffer, stream)),
            Err(error @ AllocError::OutOfMemory(_)) => {
                Err(Refusal::OutOfMemory(format!("{}: {error}", self.device.name())))
            }
            Err(other) => Err(Refusal::Other(other.to_string())),
        }
    }

    /// Frees the buffer at `address`. Returns `false`, and does nothing, if that is not one of ours.
    fn free(&self, address: u64) -> bool {
        let Some(Held { buffer, guests, .. }) = self.live.take(address) else {
            return false;
        };
        if !guests.is_empty() {
            self.guests.outlive(&self.device, buffer, guests);
        }
        true
    }

    /// Notes that `stream` uses the buffer at `address`. Returns `false` if that is not one of ours.
    pub(super) fn record(&self, address: u64, stream: usize) -> bool {
        self.live.record(address, stream)
    }

    /// Begins a capture into PyTorch's private pool `id`.
    pub(super) fn begin_capture(&self, id: warmheap_pool_id) -> Result<(), Refusal> {
        if self.graphs.begin(&self.device, id) { Ok(()) } else { Err(Refusal::Other(ONE_AT_A_TIME.into())) }
    }

    /// Ends that capture.
    pub(super) fn end_capture(&self, id: warmheap_pool_id) {
        self.graphs.end(id);
        self.guests.mark_again(&self.device);
    }

    /// Notes that one of the graphs captured into private pool `id` is gone.
    pub(super) fn release_graph(&self, id: warmheap_pool_id) {
        self.graphs.release(&self.device, id);
    }

    /// Returns the bytes held for graphs.
    pub(super) fn graph_bytes(&self) -> u64 {
        self.graphs.reserved()
    }

    /// Gives free memory back to the device, or does nothing while a graph is captured.
    pub(super) fn trim(&self) -> Result<(), DeviceError> {
        if self.graphs.tidy(&self.device) {
            return Ok(());
        }
        self.guests.mark_again(&self.device);
        self.device.synchronize()?;
        self.guests.let_go();
        self.arenas().try_for_each(|arena| arena.pool.trim(0).map(drop))
    }

    /// Returns the pools that exist now.
    pub(super) fn arenas(&self) -> impl Iterator<Item = &Arena> {
        self.arenas.iter()
    }
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        Self::Other(error.to_string())
    }
}

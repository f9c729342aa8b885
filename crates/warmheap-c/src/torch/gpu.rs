//! One GPU: its pools, the buffers PyTorch holds, those that wait for other streams, and graphs.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, OnceLock};

use warmheap::device::cuda::CudaDevice;
use warmheap::device::{Device, DeviceError};
use warmheap::{AllocError, Pool, PoolConfig};

use super::arena::{Arena, Arenas};
use super::graphs::{Graphs, warmheap_pool_id};
use super::guests::Guests;
use super::live::{Held, Live};

/// The most GPUs of one process.
const GPUS: usize = 64;
static ALL: [OnceLock<Result<Gpu, String>>; GPUS] = [const { OnceLock::new() }; GPUS];

/// What a program is told that captures a graph by itself.
const UNANNOUNCED: &str = "a CUDA graph is being captured on this stream and Warmheap was not told: capture \
    with torch.cuda.graph, with all three hooks for private pools set (docs/pytorch.md)";
const ONE_AT_A_TIME: &str = "another CUDA graph is being captured on this GPU: Warmheap serves one capture at a \
    time for each device";

/// Settings that the program gave.
static SETTLED: OnceLock<PoolConfig> = OnceLock::new();

/// Settings for the pools of every GPU, in place of the file that `WARMHEAP_CONFIG` names; variables
/// `WARMHEAP_<KEY>` still override them. For bindings; call it once, before the first allocation:
/// `false` if there are settings already, which stay.
#[must_use]
pub fn configure(config: PoolConfig) -> bool {
    SETTLED.set(config).is_ok()
}

/// See the module's essay.
#[derive(Debug)]
pub(super) struct Gpu {
    pub(super) device: CudaDevice,
    config: PoolConfig,
    arenas: Arenas,
    live: Live,
    guests: Guests,
    graphs: Graphs,
}

/// Why there is no memory.
#[derive(Debug)]
pub(super) enum Refusal {
    OutOfMemory(String),
    Other(String),
}

impl Gpu {
    /// The GPU PyTorch numbers `ordinal`, opened at its first use.
    pub(super) fn at(ordinal: c_int) -> Result<&'static Self, String> {
        let place = usize::try_from(ordinal).ok().and_then(|index| ALL.get(index));
        let place = place.ok_or_else(|| format!("device {ordinal} is not one of 0 to {}", GPUS - 1))?;
        place.get_or_init(|| Self::open(ordinal as u32)).as_ref().map_err(Clone::clone)
    }

    /// The GPUs that were used.
    pub(super) fn opened() -> impl Iterator<Item = &'static Self> {
        ALL.iter().filter_map(|place| place.get()?.as_ref().ok())
    }

    fn open(ordinal: u32) -> Result<Self, String> {
        let config = match (SETTLED.get(), std::env::var_os("WARMHEAP_CONFIG")) {
            (Some(config), _) => Ok(config.clone()),
            (None, Some(path)) => PoolConfig::from_yaml_file(path),
            // Autograd frees in its own threads what the program's thread allocated.
            (None, None) => Ok(PoolConfig::elastic().with_thread_heaps(false)),
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

    /// Memory for work on `stream`.
    pub(super) fn allocate(&self, size: u64, stream: usize) -> Result<u64, Refusal> {
        // SAFETY: PyTorch's streams exist while it allocates for them.
        let buffer = if unsafe { self.device.is_capturing(stream as *mut c_void) }? {
            let buffer = self.graphs.allocate(&self.device, size, stream);
            buffer.ok_or_else(|| Refusal::Other(UNANNOUNCED.into()))?
        } else {
            self.guests.let_go();
            let make = || Pool::new(Arc::new(self.device.clone()), self.config.clone());
            let pool = self.arenas.of(stream, make).map_err(|e| Refusal::Other(e.to_string()))?;
            match pool.try_allocate(size) {
                // What other streams hold and do not use may be enough.
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

    /// Takes back what was given at `address`; nothing, if it is not one of ours.
    pub(super) fn free(&self, address: u64) {
        let Some(Held { buffer, guests, .. }) = self.live.take(address) else {
            return;
        };
        if !guests.is_empty() {
            self.guests.outlive(&self.device, buffer, guests);
        }
    }

    /// Notes that `stream` uses the buffer at `address`; `false` if it is not one of ours.
    pub(super) fn record(&self, address: u64, stream: usize) -> bool {
        self.live.record(address, stream)
    }

    /// A capture into PyTorch's private pool `id` begins.
    pub(super) fn begin_capture(&self, id: warmheap_pool_id) -> Result<(), Refusal> {
        if self.graphs.begin(&self.device, id) { Ok(()) } else { Err(Refusal::Other(ONE_AT_A_TIME.into())) }
    }

    /// That capture has ended.
    pub(super) fn end_capture(&self, id: warmheap_pool_id) {
        self.graphs.end(id);
        self.guests.mark_again(&self.device);
    }

    /// One of the graphs captured into private pool `id` is gone.
    pub(super) fn release_graph(&self, id: warmheap_pool_id) {
        self.graphs.release(&self.device, id);
    }

    /// Bytes held for graphs.
    pub(super) fn graph_bytes(&self) -> u64 {
        self.graphs.reserved()
    }

    /// Gives memory that nobody uses back to the device; nothing while a graph is captured.
    pub(super) fn trim(&self) -> Result<(), DeviceError> {
        if self.graphs.tidy(&self.device) {
            return Ok(());
        }
        self.guests.mark_again(&self.device);
        self.device.synchronize()?;
        self.guests.let_go();
        self.arenas().try_for_each(|arena| arena.pool.trim(0).map(drop))
    }

    /// The pools that exist by now.
    pub(super) fn arenas(&self) -> impl Iterator<Item = &Arena> {
        self.arenas.iter()
    }
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        Self::Other(error.to_string())
    }
}

//! One GPU: its arenas, and the buffers that wait for other streams.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use warmheap::config::ThreadCache;
use warmheap::device::cuda::{CudaDevice, CudaQueue};
use warmheap::device::{Device, DeviceError, Queue};
use warmheap::{AllocError, Buffer, Pool, PoolConfig};

use super::arena::Arena;

/// The most GPUs of one process.
const GPUS: usize = 64;
static ALL: [OnceLock<Result<Gpu, String>>; GPUS] = [const { OnceLock::new() }; GPUS];

/// See the module's essay.
#[derive(Debug)]
pub(super) struct Gpu {
    pub(super) device: CudaDevice,
    config: PoolConfig,
    arenas: RwLock<Vec<Arc<Arena>>>,
    queues: Mutex<HashMap<usize, Arc<CudaQueue>>>,
    waiting: Mutex<Vec<Waiting>>,
    /// How many wait, to be read without the lock.
    waiters: AtomicUsize,
}

/// A freed buffer that other streams may still use.
#[derive(Debug)]
struct Waiting {
    /// Held for its drop, which gives the memory to the stream that allocated it.
    _buffer: Buffer,
    tickets: Vec<(Arc<CudaQueue>, u64)>,
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
        let config = match std::env::var_os("WARMHEAP_CONFIG") {
            Some(path) => PoolConfig::from_yaml_file(path),
            // One heap for all threads: autograd frees in its own threads what the program's
            // thread allocated, and memory must not move to and fro between heaps at each step.
            None => Ok(PoolConfig::elastic().with_thread_cache(ThreadCache { max_bytes: 0 })),
        };
        let config = config.and_then(PoolConfig::with_environment).map_err(|e| e.to_string())?;
        let open = || {
            let all: Vec<u32> = (0..CudaDevice::count()?).collect();
            CudaDevice::open_shared(ordinal, &all)
        };
        Ok(Self {
            device: open().map_err(|e| e.to_string())?,
            config,
            arenas: RwLock::default(),
            queues: Mutex::default(),
            waiting: Mutex::default(),
            waiters: AtomicUsize::new(0),
        })
    }

    /// Memory for work on `stream`.
    pub(super) fn allocate(&self, size: u64, stream: usize) -> Result<u64, Refusal> {
        // SAFETY: PyTorch's streams exist while it allocates for them.
        let capturing = unsafe { self.device.is_capturing(stream as *mut c_void) };
        if capturing.map_err(|e| Refusal::Other(e.to_string()))? {
            return Err(Refusal::Other(super::NO_GRAPHS.into()));
        }
        self.let_go();
        let arena = self.arena(stream).map_err(Refusal::Other)?;
        match arena.try_allocate(size) {
            Err(AllocError::OutOfMemory(_)) => {}
            other => return other.map_err(|e| Refusal::Other(e.to_string())),
        }
        // What other streams hold and do not use may be enough.
        self.trim().map_err(|e| Refusal::Other(e.to_string()))?;
        arena.allocate(size).map_err(|error| match error {
            AllocError::OutOfMemory(_) => Refusal::OutOfMemory(format!("{}: {error}", self.device.name())),
            other => Refusal::Other(other.to_string()),
        })
    }

    /// Takes back what `stream` was given at `address`.
    pub(super) fn free(&self, address: u64, stream: usize) -> Result<(), String> {
        let arena = self.arena(stream)?;
        let held = arena.take(address);
        let held = held.ok_or_else(|| format!("{address:#x} was not allocated on stream {stream:#x}"))?;
        if held.guests.is_empty() {
            return Ok(());
        }
        let mark = |&guest| {
            let queue = self.queue(guest)?;
            let ticket = queue.signal()?;
            Ok((queue, ticket))
        };
        match held.guests.iter().map(mark).collect::<Result<_, DeviceError>>() {
            Ok(tickets) => {
                let mut waiting = self.waiting();
                waiting.push(Waiting { _buffer: held.buffer, tickets });
                self.waiters.store(waiting.len(), Ordering::Relaxed);
                Ok(())
            }
            // A guest stream that cannot be marked: everything is waited for instead.
            Err(_) => self.device.synchronize().map_err(|e| e.to_string()),
        }
    }

    /// Notes that `stream` uses the buffer at `address`; `false` if it is not one of ours.
    pub(super) fn record(&self, address: u64, stream: usize) -> bool {
        self.arenas().iter().any(|arena| arena.record(address, stream))
    }

    /// Gives memory that nobody uses back to the device.
    pub(super) fn trim(&self) -> Result<(), DeviceError> {
        self.device.synchronize()?;
        self.let_go();
        for arena in self.arenas() {
            arena.pool.trim(0)?;
        }
        Ok(())
    }

    /// The arenas that exist by now.
    pub(super) fn arenas(&self) -> Vec<Arc<Arena>> {
        self.arenas.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn arena(&self, stream: usize) -> Result<Arc<Arena>, String> {
        let find = |arenas: &[Arc<Arena>]| arenas.iter().find(|arena| arena.stream == stream).cloned();
        let known = find(&self.arenas.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(arena) = known {
            return Ok(arena);
        }
        let mut arenas = self.arenas.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(arena) = find(&arenas) {
            return Ok(arena);
        }
        let device = Arc::new(self.device.clone());
        let pool = Pool::new(device, self.config.clone()).map_err(|e| e.to_string())?;
        let arena = Arc::new(Arena::new(stream, pool));
        arenas.push(Arc::clone(&arena));
        Ok(arena)
    }

    fn queue(&self, stream: usize) -> Result<Arc<CudaQueue>, DeviceError> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get(&stream) {
            return Ok(Arc::clone(queue));
        }
        // SAFETY: PyTorch never destroys the streams it hands out.
        let queue = Arc::new(unsafe { self.device.queue(stream as *mut c_void) }?);
        queues.insert(stream, Arc::clone(&queue));
        Ok(queue)
    }

    /// Drops the waiting buffers whose streams are done with them.
    fn let_go(&self) {
        if self.waiters.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut waiting = self.waiting();
        // A lost device uses nothing any more.
        let busy = |(queue, ticket): &(Arc<CudaQueue>, u64)| queue.completed().is_ok_and(|at| at < *ticket);
        waiting.retain(|entry| entry.tickets.iter().any(busy));
        self.waiters.store(waiting.len(), Ordering::Relaxed);
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

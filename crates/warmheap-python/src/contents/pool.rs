//! What a pool's object holds.
//!
//! A pool is open until it is closed. Every call takes a handle of the pool before it gives up the
//! interpreter's lock, so no lock of this crate is held while a call waits for that one.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use pyo3::prelude::*;
use warmheap::Pool;
use warmheap::device::Spec;

use super::callbacks::Callbacks;
use super::open::Open;
use crate::interpreter::arguments;
use crate::interpreter::errors::Class;
use crate::interpreter::fork::Origin;
use crate::interpreter::wait::{let_go, wait, wait_apart};

/// A pool of a device's memory.
///
/// Parameters
/// ----------
/// config : PoolConfig, optional
///     The settings: a PoolConfig, a dict, or the path of a YAML file.
/// device : str, default "host"
///     ``"host"``, ``"sim"``, ``"cuda"``, ``"cuda:1"`` or ``"metal"``; options follow a colon, as in
///     ``"sim:discrete,budget=4096"`` (MiB).
/// environment : bool, default True
///     Whether variables ``WARMHEAP_<KEY>`` override the settings.
/// **settings
///     Keys of the configuration that differ from ``config``: ``num_heaps=2``.
///
/// What is not said is as in a pool that sizes its heaps itself, unless ``config`` is a PoolConfig. Keys of
/// fixed heaps choose fixed heaps: ``heap_size_mb``, ``num_heaps``, ``warmup_sizes``,
/// ``allocation_strategy``, ``dynamic_growth``, ``max_heaps``, ``growth_trigger``.
///
/// Raises
/// ------
/// ConfigError
///     A setting is wrong.
/// DeviceError
///     The device is missing.
/// StartError
///     The heaps could not be created or warmed.
///
/// Examples
/// --------
/// >>> import warmheap
/// >>> with warmheap.MemoryPool(heap_size_mb=8, num_heaps=1, warmup_sizes=[4]) as pool:
/// ...     with pool.allocate(1 << 20, tag="kv-cache") as cache:
/// ...         memoryview(cache)[0] = 7
/// ...     print(pool.get_statistics().hit_rate)
/// 1.0
///
/// Any thread may use a pool. Other threads run while a call waits.
#[pyclass(frozen, subclass, weakref, module = "warmheap")]
pub(crate) struct MemoryPool {
    open: Arc<Slot>,
    number: u64,
    callbacks: Callbacks,
    device: Spec,
    name: String,
    origin: Origin,
}

/// `None` once the pool is closed. The lock is held for moments: meanwhile no Python code runs and nothing
/// waits.
type Slot = RwLock<Option<Open>>;

/// The pools of the process by their numbers, and those of its parents.
static POOLS: Mutex<Vec<(u64, Origin, Weak<Slot>)>> = Mutex::new(Vec::new());

/// Calls `work` with the list of all pools, unless the process is a fork in the middle of another call. The
/// interpreter's lock keeps other threads from the list.
fn with_pools<R: Default>(work: impl FnOnce(&mut Vec<(u64, Origin, Weak<Slot>)>) -> R) -> R {
    POOLS.try_lock().map_or_else(|_| R::default(), |mut pools| work(&mut pools))
}

/// Returns the open pools of this process with their numbers, in the order in which they were opened.
pub(crate) fn open_pools(_attached: Python<'_>) -> Vec<(u64, Pool)> {
    with_pools(|pools| {
        let here = pools.iter().filter(|(_, origin, _)| origin.is_here());
        let open = |slot: &Weak<Slot>| Some(read(&*slot.upgrade()?).as_ref()?.pool.clone());
        here.filter_map(|(number, _, slot)| Some((*number, open(slot)?))).collect()
    })
}

fn read(slot: &Slot) -> RwLockReadGuard<'_, Option<Open>> {
    slot.read().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryPool {
    /// Returns the object of a pool on the device that `spec` names.
    pub(crate) fn of(_attached: Python<'_>, pool: Pool, device: Spec) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Relaxed);
        let (open, origin) = (Arc::new(RwLock::new(Some(Open { pool, recorder: None }))), Origin::here());
        with_pools(|pools| {
            pools.retain(|(_, _, slot)| slot.strong_count() > 0);
            pools.push((number, origin, Arc::downgrade(&open)));
        });
        Self { open, number, callbacks: Callbacks::default(), name: device.to_string(), device, origin }
    }

    /// Returns the process that the pool belongs to.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Returns the number that no other pool of the process has.
    pub(crate) fn number_of_pool(&self) -> u64 {
        self.number
    }

    pub(crate) fn device_name(&self) -> &str {
        &self.name
    }

    /// Whether the device has no memory behind its addresses.
    pub(crate) fn is_simulated(&self) -> bool {
        self.device.is_simulated()
    }

    /// Returns the GPU's number, on CUDA.
    pub(crate) fn gpu(&self) -> Option<u32> {
        self.device.gpu()
    }

    pub(crate) fn callbacks(&self) -> &Callbacks {
        &self.callbacks
    }

    /// Calls `work`, which may wait, with a handle of the pool. The handle ends before this thread takes the
    /// interpreter's lock again.
    pub(crate) fn wait<R: Send>(&self, py: Python<'_>, work: impl FnOnce(&Pool) -> R + Send) -> PyResult<R> {
        let pool = self.with(|open| open.pool.clone())?;
        wait(py, move || {
            let done = work(&pool);
            drop(pool);
            done
        })
    }

    /// Does the same as [`MemoryPool::wait`] for work that may take long and that a signal may leave behind.
    pub(crate) fn wait_apart<R: Send + 'static>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Pool) -> R + Send + 'static,
    ) -> PyResult<R> {
        let pool = self.with(|open| open.pool.clone())?;
        wait_apart(py, move || work(&pool))
    }

    /// Calls `look` with the pool, unless it is closed or belongs to another process.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Open) -> R) -> PyResult<R> {
        self.origin.check()?;
        let seen = read(&self.open).as_ref().map(look);
        // An exception runs Python code, so the lock is released before.
        seen.ok_or_else(|| Class::Closed.error("the pool is closed"))
    }

    /// Whether the pool is closed.
    pub(crate) fn is_closed(&self) -> bool {
        read(&self.open).is_none()
    }

    /// Changes what the object holds.
    pub(crate) fn replace<R>(&self, with: impl FnOnce(&mut Option<Open>) -> R) -> PyResult<R> {
        self.origin.check()?;
        Ok(with(&mut self.open.write().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Converts an argument.
pub(crate) fn argument<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, MemoryPool>> {
    arguments::instance("pool", "a MemoryPool", object)
}

impl Drop for MemoryPool {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            return mem::forget(Arc::clone(&self.open));
        }
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(open) = open {
            let_go(self.origin, open);
        }
    }
}

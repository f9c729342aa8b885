//! What a pool's object holds.
//!
//! A pool is open until it is closed, and every call takes its own handle of it before it gives up
//! the interpreter's lock: no lock of ours is held while a call waits for that one.

use std::sync::{PoisonError, RwLock};

use pyo3::prelude::*;
use warmheap::Pool;
use warmheap::device::Spec;

use super::callbacks::Callbacks;
use super::open::Open;
use crate::interpreter::errors::Class;
use crate::interpreter::fork::Origin;
use crate::interpreter::wait::{let_go, wait};

/// A pool of a device's memory.
///
/// Parameters
/// ----------
/// config : PoolConfig, optional
///     The settings. Without it and without ``settings`` the pool sizes its heaps itself.
/// device : str, default "host"
///     ``"host"``, ``"sim"``, ``"cuda"``, ``"cuda:1"`` or ``"metal"``; options follow a colon, as in
///     ``"sim:discrete,budget=4096"`` (MiB).
/// environment : bool, default True
///     Whether variables ``WARMHEAP_<KEY>`` have the last word.
/// **settings
///     Keys of the configuration that differ from ``config``: ``num_heaps=2``.
///
/// Raises
/// ------
/// ConfigError
///     A setting cannot stand.
/// DeviceError
///     The device is not there.
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
/// May be used from any thread. Other threads run while a call waits.
#[pyclass(frozen, subclass, weakref, module = "warmheap")]
pub(crate) struct MemoryPool {
    /// `None` once closed. Locked for moments: no Python code runs and nothing waits meanwhile.
    open: RwLock<Option<Open>>,
    callbacks: Callbacks,
    device: Spec,
    name: String,
    origin: Origin,
}

impl MemoryPool {
    /// The object of a pool on the device that `spec` names.
    pub(crate) fn of(pool: Pool, device: Spec) -> Self {
        Self {
            open: RwLock::new(Some(Open { pool, recorder: None })),
            callbacks: Callbacks::default(),
            name: device.to_string(),
            device,
            origin: Origin::here(),
        }
    }

    /// The process it belongs to.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn device_name(&self) -> &str {
        &self.name
    }

    /// The GPU's number, on CUDA.
    pub(crate) fn gpu(&self) -> Option<u32> {
        self.device.gpu()
    }

    pub(crate) fn callbacks(&self) -> &Callbacks {
        &self.callbacks
    }

    /// Does what may wait with a handle of the pool, which ends before other threads wait again.
    pub(crate) fn wait<R: Send>(&self, py: Python<'_>, work: impl FnOnce(&Pool) -> R + Send) -> PyResult<R> {
        let pool = self.with(|open| open.pool.clone())?;
        Ok(wait(py, move || {
            let done = work(&pool);
            drop(pool);
            done
        }))
    }

    /// Looks at the pool, unless it is closed or another process's.
    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Open) -> R) -> PyResult<R> {
        self.origin.check()?;
        let seen = self.open.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(look);
        // Making an exception runs Python code, so the lock is let go before.
        seen.ok_or_else(|| Class::Closed.error("the pool is closed"))
    }

    /// Whether the pool is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Changes what is held.
    pub(crate) fn replace<R>(&self, with: impl FnOnce(&mut Option<Open>) -> R) -> PyResult<R> {
        self.origin.check()?;
        Ok(with(&mut self.open.write().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Drop for MemoryPool {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(open) = open {
            let_go(self.origin, open);
        }
    }
}

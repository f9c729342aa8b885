//! Pools: opened from a device and a configuration, asked for statistics, closed.

use std::ffi::c_char;

use warmheap::config::ConfigError;
use warmheap::device::Spec;
use warmheap::{Pool, PoolConfig};

use crate::handles;
use crate::status::{Failure, guarded, put, text, wh_status};

/// A pool. All zeros names none.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(non_camel_case_types)]
pub struct wh_pool {
    /// Of no meaning to callers.
    pub id: u64,
}

/// How often a stage of the slow path was tried, and how often it served the request.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct wh_stage {
    /// Times tried.
    pub tried: u64,
    /// Times it served.
    pub served: u64,
}

/// The stages that a request goes through, in this order, when no heap has room for it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct wh_slow_path {
    /// Retired buffers whose work has completed are freed.
    pub retired: wh_stage,
    /// Thread caches give up the spans they keep.
    pub caches: wh_stage,
    /// The pool takes purgeable heaps back into use.
    pub purgeable: wh_stage,
    /// Movable buffers make room.
    pub compaction: wh_stage,
    /// The device is asked for heap memory.
    pub growth: wh_stage,
    /// The device is asked for a buffer.
    pub fallback: wh_stage,
    /// The request waits for work in flight.
    pub wait: wh_stage,
    /// The program's callbacks are asked to free something.
    pub callbacks: wh_stage,
}

impl From<warmheap::stats::Stage> for wh_stage {
    fn from(stage: warmheap::stats::Stage) -> Self {
        Self { tried: stage.tried, served: stage.served }
    }
}

impl From<warmheap::stats::SlowPath> for wh_slow_path {
    fn from(slow_path: warmheap::stats::SlowPath) -> Self {
        Self {
            retired: slow_path.retired.into(),
            caches: slow_path.caches.into(),
            purgeable: slow_path.purgeable.into(),
            compaction: slow_path.compaction.into(),
            growth: slow_path.growth.into(),
            fallback: slow_path.fallback.into(),
            wait: slow_path.wait.into(),
            callbacks: slow_path.callbacks.into(),
        }
    }
}

/// What a pool can tell about itself. Figures ending in `_mb` are MiB (2^20 bytes).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct wh_statistics {
    /// Requests that got a buffer.
    pub total_allocations: u64,
    /// Buffers given back.
    pub total_deallocations: u64,
    /// Requests that no heap could serve and the device did.
    pub fallback_allocations: u64,
    /// Requests that failed.
    pub failed_allocations: u64,
    /// Buffers alive now.
    pub active_allocations: u64,
    /// `(total - fallback) / total`; 1 when there were none.
    pub hit_rate: f64,
    /// Heaps held from the device.
    pub total_heaps: u64,
    /// Heaps with a live buffer.
    pub active_heaps: u64,
    /// Used part of the heaps, 0 to 1.
    pub utilization: f64,
    /// `1 - largest free block / free`, 0 to 1.
    pub fragmentation: f64,
    /// The largest request answered.
    pub largest_allocation_mb: f64,
    /// The mean request answered.
    pub avg_allocation_mb: f64,
    /// Heap memory held from the device.
    pub total_capacity_mb: f64,
    /// Heap memory under live buffers.
    pub used_capacity_mb: f64,
    /// The most requested bytes alive at once.
    pub peak_used_mb: f64,
    /// Memory under live fallback buffers.
    pub fallback_mb: f64,
    /// Free memory held back for the next requests.
    pub cached_mb: f64,
    /// Freed memory that is not reused before it can be cleared.
    pub quarantined_mb: f64,
    /// Calls made to the device.
    pub device_calls: u64,
    /// Driver objects held, where they are scarce beside bytes.
    pub device_objects: u64,
    /// The most driver objects that may be held; 0 without such a limit.
    pub device_object_limit: u64,
    /// Retired buffers that wait for their queues.
    pub in_flight_mb: f64,
    /// How often more came to be held than a soft limit says.
    pub soft_limit_crossings: u64,
    /// Compactions, on demand and in the background.
    pub compactions: u64,
    /// Buffers that compaction has moved.
    pub moved_buffers: u64,
    /// Their requested bytes.
    pub moved_mb: f64,
    /// Memory that compaction brought together in whole pages or heaps.
    pub recovered_mb: f64,
    /// What was tried when no heap had room.
    pub slow_path: wh_slow_path,
    /// Bytes held from the device now: heaps and fallback buffers.
    pub reserved_bytes: u64,
    /// The most bytes held from the device at once.
    pub peak_reserved_bytes: u64,
}

/// Opens a pool on `device`: `host`, `cuda` or `cuda:N`. `config` is a configuration as YAML text;
/// null asks for a pool that sizes itself. Environment variables `WARMHEAP_...` override it.
///
/// # Safety
/// The texts are null or end with a zero byte; `pool` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_open(
    device: *const c_char,
    config: *const c_char,
    pool: *mut wh_pool,
) -> wh_status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let config = match unsafe { text(config, "config") }? {
            Some(yaml) => PoolConfig::from_yaml_str(yaml),
            None => Ok(PoolConfig::elastic()),
        };
        // SAFETY: the caller's promise.
        unsafe { open(device, config, pool) }
    })
}

/// As `wh_pool_open`, with the configuration in a file.
///
/// # Safety
/// As `wh_pool_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_open_file(
    device: *const c_char,
    path: *const c_char,
    pool: *mut wh_pool,
) -> wh_status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let path = unsafe { text(path, "path") }?.ok_or_else(|| Failure::argument("path is null"))?;
        // SAFETY: the caller's promise.
        unsafe { open(device, PoolConfig::from_yaml_file(path), pool) }
    })
}

/// # Safety
/// As `wh_pool_open`.
unsafe fn open(
    device: *const c_char,
    config: Result<PoolConfig, ConfigError>,
    out: *mut wh_pool,
) -> Result<(), Failure> {
    let config = config.and_then(PoolConfig::with_environment)?;
    // SAFETY: the caller's promise.
    let name = unsafe { text(device, "device") }?.ok_or_else(|| Failure::argument("device is null"))?;
    if out.is_null() {
        return Err(Failure::argument("pool is null"));
    }
    let unknown = |reason| Failure::argument(format!("no device is named {name:?}: {reason}"));
    let device = name.parse::<Spec>().map_err(unknown)?.open()?;
    let pool = Pool::new(device, config)?;
    let id = handles::add_pool(pool);
    // SAFETY: the caller's promise.
    unsafe { put(out, "pool", wh_pool { id }) }
}

/// Closes a pool. Its memory goes back to the device with the last of its buffers, which stay
/// valid until freed.
#[unsafe(no_mangle)]
pub extern "C" fn wh_pool_close(pool: wh_pool) -> wh_status {
    guarded(|| handles::remove_pool(pool.id).map(drop))
}

/// Gives memory that no buffer uses back to the device until at most `target` bytes are held; 0
/// asks for all of it.
#[unsafe(no_mangle)]
pub extern "C" fn wh_pool_trim(pool: wh_pool, target: u64) -> wh_status {
    guarded(|| Ok(handles::pool(pool.id)?.trim(target).map(drop)?))
}

/// Sets the pool's counters to zero; what is true now stays.
#[unsafe(no_mangle)]
pub extern "C" fn wh_pool_reset_statistics(pool: wh_pool) -> wh_status {
    guarded(|| {
        handles::pool(pool.id)?.reset_statistics();
        Ok(())
    })
}

/// A snapshot of the pool's statistics.
///
/// # Safety
/// `statistics` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_statistics(pool: wh_pool, statistics: *mut wh_statistics) -> wh_status {
    guarded(|| {
        let pool = handles::pool(pool.id)?;
        let snapshot = snapshot(&pool);
        // SAFETY: the caller's promise.
        unsafe { put(statistics, "statistics", snapshot) }
    })
}

/// The pool's figures in C's struct: all that the library has (the header's test sees to that), and
/// what is held from the device.
fn snapshot(pool: &Pool) -> wh_statistics {
    macro_rules! filled {
        ($statistics:ident, [$($field:ident),+], $($own:ident),+) => {
            wh_statistics {
                $($field: $statistics.$field,)+
                slow_path: $statistics.slow_path.into(),
                $($own: pool.$own()),+
            }
        };
    }
    let statistics = pool.statistics();
    filled!(
        statistics,
        [
            total_allocations,
            total_deallocations,
            fallback_allocations,
            failed_allocations,
            active_allocations,
            hit_rate,
            total_heaps,
            active_heaps,
            utilization,
            fragmentation,
            largest_allocation_mb,
            avg_allocation_mb,
            total_capacity_mb,
            used_capacity_mb,
            peak_used_mb,
            fallback_mb,
            cached_mb,
            quarantined_mb,
            device_calls,
            device_objects,
            device_object_limit,
            in_flight_mb,
            soft_limit_crossings,
            compactions,
            moved_buffers,
            moved_mb,
            recovered_mb
        ],
        reserved_bytes,
        peak_reserved_bytes
    )
}

//! The functions that open and close pools.

mod memory;
mod pressure;
mod quota;
mod record;
mod statistics;

use std::ffi::c_char;

use warmheap::config::ConfigError;
use warmheap::device::{Spec, SpecError};
use warmheap::{Pool, PoolConfig};

use crate::callback::UserData;
use crate::status::{Failure, guarded, put, wh_status};
use crate::tables::OpenPool;
use crate::text::{given, put_text, text};
use crate::{fork, tables};

pub use memory::{wh_compaction, wh_pool_compact, wh_pool_maintain, wh_pool_make_purgeable, wh_pool_trim};
pub use pressure::{wh_pool_on_pressure, wh_pressure, wh_pressure_callback, wh_pressure_kind};
pub use quota::{wh_pool_quota, wh_pool_remove_quota, wh_pool_set_quota};
pub use record::{wh_pool_record, wh_pool_stop_recording};
pub use statistics::{
    wh_pool_leak_report, wh_pool_prometheus, wh_pool_reset_statistics, wh_pool_statistics,
    wh_pool_statistics_json, wh_pools_prometheus, wh_slow_path, wh_stage, wh_statistics,
};

/// The handle of a pool. All zeros is the handle of no pool.
/// Since 0.1, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(non_camel_case_types)]
pub struct wh_pool {
    /// The number has no meaning to callers.
    pub id: u64,
}

/// Opens a pool on `device`. A device is a name, and options after a colon, separated by commas:
///
/// - `host`: memory of this process. Option `budget=MIB`.
/// - `sim`: a device without memory, for tests. Options `budget=MIB`, `discrete` (heaps cannot grow in place),
///   `purgeable` (the system may take unused heaps), `latency=MICROSECONDS`: `sim:discrete,budget=4096`.
/// - `cuda`: an NVIDIA GPU. Options: the GPU's number, and `ordered` (single buffers by `cudaMallocAsync`):
///   `cuda:0,ordered`.
/// - `metal`: the GPU of an Apple system.
///
/// `config` is a configuration as YAML text, or null for the file that the environment variable
/// `WARMHEAP_CONFIG` names, if it is set. A pool sizes itself unless the configuration sizes fixed
/// heaps: `heap_sizing: fixed`, or one of `heap_size_mb`, `num_heaps`, `warmup_sizes`, `allocation_strategy`,
/// `dynamic_growth`, `max_heaps` and `growth_trigger`. Every other key keeps its default. The environment
/// variables `WARMHEAP_...` override the configuration. Since 0.1.
///
/// # Safety
/// `device` and `config` are null or end with a zero byte. `pool` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_open(
    device: *const c_char,
    config: *const c_char,
    pool: *mut wh_pool,
) -> wh_status {
    guarded(|| {
        // SAFETY: the caller keeps this function's contract.
        let config = match unsafe { text(config, "config") }? {
            Some(yaml) => PoolConfig::elastic().with_yaml_str(yaml),
            None => PoolConfig::elastic().with_environment_file(),
        };
        // SAFETY: the caller keeps this function's contract.
        unsafe { open(device, config, pool) }
    })
}

/// Opens a pool as `wh_pool_open` does, with the configuration in the file `path`. Since 0.1.
///
/// # Safety
/// `device` and `path` are null or end with a zero byte. `pool` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_open_file(
    device: *const c_char,
    path: *const c_char,
    pool: *mut wh_pool,
) -> wh_status {
    guarded(|| {
        // SAFETY: the caller keeps this function's contract.
        let path = unsafe { given(path, "path") }?;
        // SAFETY: the caller keeps this function's contract.
        unsafe { open(device, PoolConfig::elastic().with_yaml_file(path), pool) }
    })
}

/// # Safety
/// The contract is that of `wh_pool_open`.
unsafe fn open(
    device: *const c_char,
    config: Result<PoolConfig, ConfigError>,
    out: *mut wh_pool,
) -> Result<(), Failure> {
    let config = config.and_then(PoolConfig::with_environment)?;
    // SAFETY: the caller keeps this function's contract.
    let name = unsafe { given(device, "device") }?;
    if out.is_null() {
        return Err(Failure::argument("pool is null"));
    }
    let unknown = |reason: SpecError| Failure::argument(format!("no device is named {name:?}: {reason}"));
    let device = name.parse::<Spec>().map_err(unknown)?.open()?;
    let pool = Pool::new(device, config)?;
    fork::watch();
    let id = tables::add_pool(pool);
    // SAFETY: the caller keeps this function's contract.
    unsafe { put(out, "pool", wh_pool { id }) }
}

/// Closes a pool. Live buffers stay valid until they are freed. The pool's memory goes back to the device
/// with the last of them. A pool with open queues ends when they are closed; meanwhile its buffers and queues
/// work, and nothing can be allocated. A recording ends; if it could not be written, the pool closes all the
/// same, and the call returns `WH_FILE_ERROR`. Callbacks end, as `wh_pool_on_pressure` says. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wh_pool_close(pool: wh_pool) -> wh_status {
    guarded(|| {
        let OpenPool { pool, recorder, data } = tables::remove_pool(pool.id)?;
        data.into_iter().for_each(UserData::end);
        let recorded = recorder.map_or(Ok(0), warmheap_trace::Recorder::finish);
        drop(pool);
        Ok(recorded.map(drop)?)
    })
}

/// Writes the settings of a pool to `text` as YAML. The text and its length are written as
/// `wh_pool_statistics_json` does. Since 0.2.
///
/// # Safety
/// `text` is null or has room for `capacity` bytes. `needed` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_settings(
    pool: wh_pool,
    text: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> wh_status {
    guarded(|| {
        let made = tables::pool(pool.id)?.config().to_yaml();
        // SAFETY: the caller keeps this function's contract.
        unsafe { put_text(&made, text, capacity, needed) }
    })
}

//! Warmheap for C, and for PyTorch.
//!
//! This crate turns the library into functions that C can call. It owns only what that interface needs:
//! handles that stay harmless after the object is gone, error texts, and a stop for panics. It makes no
//! decision about memory.
//!
//! - `pool`, `buffer`, `queue`, `log`: the functions of `warmheap.h`
//! - `tables`: numbers in place of pointers, checked at each use
//! - `callback`: functions of the program, and how they end
//! - `fork`: the tables of handles across a fork
//! - `sized`: structs that carry their size
//! - `status`, `text`: what every function returns, and texts from and for C
//! - `torch`: the functions that PyTorch's pluggable allocator needs

mod buffer;
mod callback;
mod fork;
mod log;
mod pool;
mod queue;
mod sized;
mod status;
mod tables;
mod text;
pub mod torch;

use std::ffi::c_char;

pub use buffer::{
    WH_MOVABLE, WH_NO_FALLBACK, WH_NO_WAIT, WH_NON_BLOCKING, WH_ZEROED, wh_allocate, wh_allocate_at,
    wh_allocate_with, wh_buffer, wh_buffer_info, wh_free, wh_grow, wh_grow_or_move, wh_inspect, wh_pin,
    wh_request, wh_unpin,
};
pub use log::{wh_log_callback, wh_log_level, wh_log_record, wh_set_log, wh_unset_log};
pub use pool::{
    wh_compaction, wh_pool, wh_pool_close, wh_pool_compact, wh_pool_leak_report, wh_pool_maintain,
    wh_pool_make_purgeable, wh_pool_on_pressure, wh_pool_open, wh_pool_open_file, wh_pool_prometheus,
    wh_pool_quota, wh_pool_record, wh_pool_remove_quota, wh_pool_reset_statistics, wh_pool_set_quota,
    wh_pool_settings, wh_pool_statistics, wh_pool_statistics_json, wh_pool_stop_recording, wh_pool_trim,
    wh_pools_prometheus, wh_pressure, wh_pressure_callback, wh_pressure_kind, wh_slow_path, wh_stage,
    wh_statistics,
};
pub use queue::{
    wh_in_flight_until, wh_queue, wh_queue_allocate, wh_queue_close, wh_queue_complete, wh_queue_lose,
    wh_queue_open, wh_queue_open_stream, wh_queue_poll, wh_queue_retired_bytes, wh_queue_signal, wh_retire,
    wh_ticket, wh_ticket_wait,
};
pub use status::{wh_last_error, wh_status};
pub use torch::{
    warmheap_begin_allocate_to_pool, warmheap_empty_cache, warmheap_end_allocate_to_pool, warmheap_free,
    warmheap_init, warmheap_malloc, warmheap_pool_id, warmheap_record_stream, warmheap_release_pool,
    warmheap_reset_peaks, warmheap_statistics_json,
};

/// The version of this interface. A library works with a program that was compiled against a header of the
/// same major version, and of the same or a smaller minor version. Since 0.1.
pub const WH_VERSION_MAJOR: u32 = 0;
/// The minor version rises when functions are added. Since 0.1.
pub const WH_VERSION_MINOR: u32 = 2;

/// Returns the library's interface version: `WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR`. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wh_version() -> u32 {
    WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR
}

/// Returns the library's release as text. The pointer is never null, and the caller never frees it.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wh_version_string() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}

//! Warmheap for C, and for PyTorch.
//!
//! This crate turns the library into functions that C can call. It owns only what that interface needs:
//! handles that stay harmless after the object is gone, error texts, and a stop for panics. It makes no
//! decision about memory.
//!
//! - `pool`, `buffer`: the functions of `warmheap.h`
//! - `handles`: numbers in place of pointers, checked at each use
//! - `fork`: the tables of handles across a fork
//! - `status`: what every function returns
//! - `torch`: the functions that PyTorch's pluggable allocator needs

mod buffer;
mod fork;
mod handles;
mod pool;
mod status;
pub mod torch;

use std::ffi::c_char;

pub use buffer::{WH_NO_FALLBACK, WH_ZEROED, wh_allocate, wh_buffer, wh_buffer_info, wh_free, wh_inspect};
pub use pool::{
    wh_pool, wh_pool_close, wh_pool_open, wh_pool_open_file, wh_pool_reset_statistics, wh_pool_statistics,
    wh_pool_trim, wh_statistics,
};
pub use status::{wh_last_error, wh_status};
pub use torch::{
    warmheap_begin_allocate_to_pool, warmheap_empty_cache, warmheap_end_allocate_to_pool, warmheap_free,
    warmheap_init, warmheap_malloc, warmheap_pool_id, warmheap_record_stream, warmheap_release_pool,
    warmheap_reset_peaks, warmheap_statistics_json,
};

/// The version of this interface. A library works with a program that was compiled against a header of the
/// same major version.
pub const WH_VERSION_MAJOR: u32 = 0;
/// The minor version rises when functions are added.
pub const WH_VERSION_MINOR: u32 = 1;

/// Returns the library's interface version: `WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR`.
#[unsafe(no_mangle)]
pub extern "C" fn wh_version() -> u32 {
    WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR
}

/// Returns the library's release as text. The pointer is never null, and the caller never frees it.
#[unsafe(no_mangle)]
pub extern "C" fn wh_version_string() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}

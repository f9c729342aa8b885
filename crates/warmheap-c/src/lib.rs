//! Warmheap for C, and for PyTorch.
//!
//! This crate turns the library into functions that C can call. It owns what the border needs and
//! nothing else: handles that outlive what they name without harm, error texts, and a stop for
//! panics. No decision about memory is made here.
//!
//! - `pool`, `buffer`: the functions of `warmheap.h`
//! - `handles`: numbers in place of pointers, checked at each use
//! - `status`: what every function answers
//! - `torch`: the functions that PyTorch's pluggable allocator takes

mod buffer;
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

/// The version of this interface: a program compiled against a header with the same major number
/// works with this library.
pub const WH_VERSION_MAJOR: u32 = 0;
/// Rises when functions are added.
pub const WH_VERSION_MINOR: u32 = 1;

/// The library's interface version: `WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR`.
#[unsafe(no_mangle)]
pub extern "C" fn wh_version() -> u32 {
    WH_VERSION_MAJOR << 16 | WH_VERSION_MINOR
}

/// The library's release, as text. Never null; never freed.
#[unsafe(no_mangle)]
pub extern "C" fn wh_version_string() -> *const c_char {
    const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    TEXT.as_ptr().cast()
}

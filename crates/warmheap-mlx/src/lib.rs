//! Warmheap as the allocator of [MLX](https://github.com/ml-explore/mlx), without a change to MLX.
//!
//! MLX has one allocator object for a process and calls it through a C++ table of virtual functions.
//! [`install`] gives that object another table, whose `malloc`, `free` and `size` use a [`Pool`]. What MLX
//! allocated before goes back to where it came from.
//!
//! MLX offers no hook for this, so the crate relies on the layout of the object. [`install`] checks that layout
//! before it changes anything, and makes a trial allocation with MLX's own functions and one from the pool. If
//! anything is not as expected, MLX stays as it is and the error says why.
//!
//! From below upwards:
//!
//! - `library`: the functions of the loaded MLX and of the C++ runtime, by name
//! - `layout`: the allocator object, and its table of virtual functions
//! - `adapter`: the functions in the new table. Its files `host` and `metal` hold MLX's buffers
//!
//! The only unsafe code is in `library`, `layout` and `adapter`. Nothing here is ever removed: MLX frees arrays
//! until the last moment of the process, from any thread.
#![deny(unsafe_code)]

mod adapter;
mod error;
mod layout;
mod library;

use std::path::Path;

use warmheap::Pool;
use warmheap::device::DeviceError;

pub use error::InstallError;

/// Makes MLX take its memory from `pool` for the rest of the process. The pool stays open as long.
///
/// `library` is the file of the loaded MLX: the library itself, or the extension module that contains it. MLX's
/// builds for processors need a pool on the host device, and its builds for Metal one on Metal with shared memory
/// in placement heaps, untracked, as MLX itself allocates.
///
/// On the host a request that the pool cannot serve becomes MLX's exception, a `std::runtime_error`. On Metal, and in
/// a child of `fork`, MLX's own allocator serves it. Any thread may call this; one call succeeds.
///
/// # Errors
/// Returns [`InstallError`] and leaves MLX as it is if MLX is not as this crate knows it, if the pool cannot
/// serve it, or if a pool is installed already.
pub fn install(pool: &Pool, library: &Path) -> Result<(), InstallError> {
    adapter::install(pool, library)
}

/// What MLX holds of the installed pool, in bytes that MLX asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The bytes alive now.
    pub active: usize,
    /// The most bytes alive after an allocation since the start or the last [`reset_peak`]; 0 if there was none,
    /// as in MLX.
    pub peak: usize,
    /// The bytes that the pool holds from the device.
    pub reserved: usize,
}

/// Returns what MLX holds of the installed pool, or `None` while none is installed. What MLX allocated before is
/// not in it.
#[must_use]
pub fn usage() -> Option<Usage> {
    adapter::usage()
}

/// Lets the peak start again.
pub fn reset_peak() {
    adapter::reset_peak();
}

/// Gives memory that MLX does not use back to the device, until the pool holds `keep` bytes besides. MLX must have no
/// work in flight that it queued before this call, as after `mlx.core.synchronize()`.
///
/// # Errors
/// Returns the device's error. What it took back until then stays back.
pub fn give_back(keep: usize) -> Result<(), DeviceError> {
    adapter::give_back(keep)
}

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
//! - `blocks`: the buffers that MLX holds, by address
//! - `adapter`: the functions in the new table
//!
//! The only unsafe code is in `library`, `layout` and `adapter`. Nothing here is ever removed: MLX frees arrays
//! until the last moment of the process, from any thread.
#![deny(unsafe_code)]

mod adapter;
mod blocks;
mod error;
mod layout;
mod library;

use std::path::Path;

use warmheap::Pool;

pub use error::InstallError;

/// Makes MLX take its memory from `pool` for the rest of the process. The pool stays open as long.
///
/// `library` is the file of the loaded MLX: the library itself, or the extension module that contains it. The
/// pool must be on the host device, because this serves the allocator of MLX's builds for processors.
///
/// A request that the pool cannot serve becomes MLX's exception (`std::runtime_error`, "[malloc] Unable to
/// allocate ... bytes"). In a child of `fork`, MLX's own allocator serves what the child asks for. Any thread may
/// call this; one call succeeds.
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
    /// The most bytes alive at one moment since the start or the last [`reset_peak`].
    pub peak: usize,
}

/// Returns what MLX holds of the installed pool, or `None` while none is installed. What MLX allocated before is
/// not in it.
#[must_use]
pub fn usage() -> Option<Usage> {
    adapter::usage()
}

/// Lets the peak start again from what is alive now.
pub fn reset_peak() {
    adapter::reset_peak();
}

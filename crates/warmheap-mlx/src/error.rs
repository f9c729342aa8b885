//! Why MLX was left alone.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use warmheap::AllocError;

/// The reason that MLX keeps its own allocator. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The process has not loaded this file.
    #[error("{} is not loaded; import mlx.core first", .0.display())]
    NotLoaded(PathBuf),
    /// The library does not have a function that MLX has.
    #[error("{} has no function {symbol}; it is not MLX as Warmheap knows it", .library.display())]
    NoFunction {
        /// The file that was searched.
        library: PathBuf,
        /// The function's name in the file.
        symbol: &'static str,
    },
    /// The allocator is of a class that is not served on this system.
    #[error(
        "MLX's allocator is of the class {0}; Warmheap serves the allocator of MLX's builds for processors"
    )]
    OtherAllocator(String),
    /// The allocator object is not laid out as expected.
    #[error("MLX's allocator is not laid out as expected: {0}")]
    Layout(&'static str),
    /// The pool's memory cannot be read by the processor.
    #[error("the pool's memory is not the processor's; MLX needs a pool on the host device")]
    NotHost,
    /// The pool has no MTLBuffers that the processor can read.
    #[error("MLX needs a pool on Metal with shared memory in placement heaps; this pool has none")]
    NotMetal,
    /// The pool could not serve a trial allocation.
    #[error("the pool could not serve a trial allocation: {0}")]
    Trial(#[from] AllocError),
    /// A pool serves MLX already.
    #[error("a pool serves MLX already, and stays for the rest of the process")]
    Installed,
}

//! What both kinds of memory do for MLX.
#![forbid(unsafe_code)]

use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, TryLockError};

use warmheap::{AllocError, CallSite, Pool};

/// Keeps the buffers that MLX holds, by what MLX calls them.
pub(super) trait Holder: Send + Sync {
    /// Allocates. Returns what MLX is to call the buffer, and its size in bytes.
    fn allocate(&self, pool: &Pool, size: usize) -> Result<(*mut c_void, usize), Refusal>;

    /// Takes a buffer back and returns its size, or `None` if it is not ours.
    fn free(&self, address: usize) -> Option<usize>;

    /// Returns the size of a buffer, or `None` if it is not ours.
    fn size(&self, address: usize) -> Option<usize>;

    /// Returns what [`Self::size`] does, in a child of `fork`, where the thread that holds a lock may not exist.
    /// A buffer behind such a lock counts as ours, of no bytes.
    fn inherited_size(&self, address: usize) -> Option<usize>;

    /// Gives the pool what it keeps for MLX, which has no work in flight that it queued before this call.
    fn synchronized(&self);
}

/// Why there is no buffer.
pub(super) enum Refusal {
    /// MLX's own allocator serves the request.
    AskMlx,
    /// The request fails.
    Final(AllocError),
}

/// The call site of every request.
pub(super) fn mlx() -> CallSite {
    CallSite::foreign("mlx.core", 0)
}

/// Locks without waiting. `None` means that a thread holds the lock, which may not exist in a child of `fork`.
pub(super) fn lock_now<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(locked) => Some(locked),
        Err(TryLockError::Poisoned(locked)) => Some(locked.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

//! The functions that MLX calls, and the pool behind them. There is one adapter in a process, and it is never
//! removed.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use warmheap::fork::Process;
use warmheap::{AllocError, Pool, Request};

use crate::Usage;
use crate::blocks::Blocks;
use crate::error::InstallError;
use crate::layout::{Allocator, Object, Table};
use crate::library;

/// The alignment of arrays in bytes: a cache line, and what vector instructions like best.
const ALIGN: u64 = 64;

static ADAPTER: OnceLock<Adapter> = OnceLock::new();

/// See the module's documentation.
struct Adapter {
    pool: Pool,
    process: Process,
    blocks: Blocks,
    active: AtomicUsize,
    peak: AtomicUsize,
    /// The functions that MLX had, which serve what they allocated.
    before: Table,
    after: Table,
    /// The bytes between what MLX calls a buffer and its memory. MLX's own functions keep the size there. Ours
    /// never use them, so the memory begins where the pool's buffer does.
    header: usize,
}

pub(crate) fn install(pool: &Pool, library: &Path) -> Result<(), InstallError> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if ADAPTER.get().is_some() {
        return Err(InstallError::Installed);
    }
    let allocator = Allocator::find(library)?;
    let header = allocator.trial(&allocator.table)?;
    if pool.allocate(Request::new(ALIGN).align(ALIGN))?.host_ptr().is_none() {
        return Err(InstallError::NotHost);
    }
    let adapter = ADAPTER.get_or_init(|| Adapter {
        pool: pool.clone(),
        process: pool.process(),
        blocks: Blocks::new(),
        active: AtomicUsize::new(0),
        peak: AtomicUsize::new(0),
        before: allocator.table,
        after: allocator.with(malloc, free, size),
        header,
    });
    allocator.point_at(&adapter.after);
    Ok(())
}

pub(crate) fn usage() -> Option<Usage> {
    ADAPTER.get().map(|adapter| {
        let active = adapter.active.load(Ordering::Relaxed);
        Usage { active, peak: adapter.peak.load(Ordering::Relaxed).max(active) }
    })
}

pub(crate) fn reset_peak() {
    if let Some(adapter) = ADAPTER.get() {
        adapter.peak.store(adapter.active.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// What becomes of a request.
enum Served {
    Here(*mut c_void),
    /// MLX's own allocator serves it: the process is a child of a fork, or the pool has failed.
    Before,
    No(AllocError),
}

impl Adapter {
    fn allocate(&self, size: usize) -> Served {
        if !self.process.is_current() {
            return Served::Before;
        }
        // MLX asks for arrays of no bytes, and frees them.
        let buffer = match self.pool.allocate(Request::new(size.max(1) as u64).align(ALIGN).tag("mlx")) {
            Ok(buffer) => buffer,
            Err(AllocError::Forked(_)) => return Served::Before,
            Err(error) => return Served::No(error),
        };
        let Some(memory) = buffer.host_ptr() else { return Served::Before };
        let address = memory.as_ptr().wrapping_sub(self.header);
        self.count(buffer.size() as usize);
        self.blocks.insert(address as usize, buffer);
        Served::Here(address.cast())
    }

    fn count(&self, size: usize) {
        let active = self.active.fetch_add(size, Ordering::Relaxed) + size;
        if active > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(active, Ordering::Relaxed);
        }
    }

    /// Returns whether the buffer at `address` was ours.
    fn free(&self, address: usize) -> bool {
        if !self.process.is_current() {
            // What a child inherited stays, because the pool is the parent's.
            return self.blocks.inherited_size(address).is_some();
        }
        let Some(buffer) = self.blocks.take(address) else { return false };
        self.active.fetch_sub(buffer.size() as usize, Ordering::Relaxed);
        drop(buffer);
        true
    }

    /// Returns the bytes of the buffer at `address`, if it is ours.
    fn size(&self, address: usize) -> Option<u64> {
        if self.process.is_current() {
            self.blocks.size(address)
        } else {
            self.blocks.inherited_size(address)
        }
    }
}

/// Replaces `Buffer malloc(size_t)`.
unsafe extern "C-unwind" fn malloc(this: Object, size: usize) -> *mut c_void {
    let Some(adapter) = ADAPTER.get() else { return ptr::null_mut() };
    let served = catch_unwind(AssertUnwindSafe(|| adapter.allocate(size))).unwrap_or(Served::Before);
    match served {
        Served::Here(buffer) => buffer,
        // SAFETY: this is the object's own function, and MLX made the call.
        Served::Before => unsafe { (adapter.before.malloc)(this, size) },
        Served::No(error) => {
            let message = format!("[malloc] Unable to allocate {size} bytes. Warmheap: {error}");
            drop(error);
            library::throw_runtime_error(&message);
            ptr::null_mut()
        }
    }
}

/// Replaces `void free(Buffer)`.
unsafe extern "C-unwind" fn free(this: Object, buffer: *mut c_void) {
    let Some(adapter) = ADAPTER.get() else { return };
    if buffer.is_null() {
        return;
    }
    let ours = catch_unwind(AssertUnwindSafe(|| adapter.free(buffer as usize)));
    if !ours.unwrap_or(true) {
        // SAFETY: the buffer is not ours, so MLX's own function allocated it.
        unsafe { (adapter.before.free)(this, buffer) }
    }
}

/// Replaces `size_t size(Buffer) const`.
unsafe extern "C-unwind" fn size(this: Object, buffer: *mut c_void) -> usize {
    let Some(adapter) = ADAPTER.get() else { return 0 };
    match adapter.size(buffer as usize) {
        Some(size) => size as usize,
        // SAFETY: the buffer is not ours, so MLX's own function allocated it.
        None => unsafe { (adapter.before.size)(this, buffer) },
    }
}

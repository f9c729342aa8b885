//! The functions that MLX calls, and the pool behind them. There is one adapter in a process, and it is never
//! removed.
#![allow(unsafe_code)]

mod holder;
mod host;
#[cfg(any(target_vendor = "apple", metal_double))]
mod metal;

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use warmheap::Pool;
use warmheap::device::DeviceError;
use warmheap::fork::Process;

use crate::Usage;
use crate::error::InstallError;
use crate::layout::{Allocator, Kind, Object, Table};
use crate::library;
use holder::{Holder, Refusal};
use host::Host;

static ADAPTER: OnceLock<Adapter> = OnceLock::new();

/// See the module's documentation.
struct Adapter {
    pool: Pool,
    process: Process,
    holder: Box<dyn Holder>,
    active: AtomicUsize,
    peak: AtomicUsize,
    /// The functions that MLX had, which serve what they allocated.
    before: Table,
    after: Table,
}

pub(crate) fn install(pool: &Pool, library: &Path) -> Result<(), InstallError> {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _installing = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if ADAPTER.get().is_some() {
        return Err(InstallError::Installed);
    }
    let allocator = Allocator::find(library)?;
    let holder: Box<dyn Holder> = match allocator.kind {
        Kind::Host => Box::new(Host::new(pool, allocator.header()?)?),
        #[cfg(any(target_vendor = "apple", metal_double))]
        Kind::Metal => {
            allocator.header()?;
            Box::new(metal::Metal::new(pool)?)
        }
    };
    let adapter = ADAPTER.get_or_init(|| Adapter {
        pool: pool.clone(),
        process: pool.process(),
        holder,
        active: AtomicUsize::new(0),
        peak: AtomicUsize::new(0),
        before: allocator.table,
        after: allocator.with(malloc, free, size),
    });
    allocator.point_at(&adapter.after);
    Ok(())
}

pub(crate) fn usage() -> Option<Usage> {
    ADAPTER.get().map(|adapter| Usage {
        active: adapter.active.load(Ordering::Relaxed),
        peak: adapter.peak.load(Ordering::Relaxed),
        // In a child of `fork` the pool is the parent's.
        reserved: if adapter.process.is_current() { adapter.pool.reserved_bytes() as usize } else { 0 },
    })
}

pub(crate) fn reset_peak() {
    if let Some(adapter) = ADAPTER.get() {
        adapter.peak.store(0, Ordering::Relaxed);
    }
}

pub(crate) fn give_back(keep: usize) -> Result<(), DeviceError> {
    let Some(adapter) = ADAPTER.get().filter(|adapter| adapter.process.is_current()) else { return Ok(()) };
    adapter.holder.synchronized();
    let target = adapter.active.load(Ordering::Relaxed).saturating_add(keep);
    adapter.pool.trim(target as u64).map(|_| ())
}

impl Adapter {
    fn allocate(&self, size: usize) -> Result<*mut c_void, Refusal> {
        if !self.process.is_current() {
            return Err(Refusal::AskMlx);
        }
        let (buffer, size) = self.holder.allocate(&self.pool, size)?;
        let active = self.active.fetch_add(size, Ordering::Relaxed) + size;
        if active > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(active, Ordering::Relaxed);
        }
        Ok(buffer)
    }

    /// Returns whether the buffer was ours.
    fn free(&self, address: usize) -> bool {
        if !self.process.is_current() {
            // What a child inherited stays, because the pool is the parent's.
            return self.holder.inherited_size(address).is_some();
        }
        let freed = self.holder.free(address);
        self.active.fetch_sub(freed.unwrap_or(0), Ordering::Relaxed);
        freed.is_some()
    }

    /// Returns the bytes of the buffer, if it is ours.
    fn size(&self, address: usize) -> Option<usize> {
        if self.process.is_current() {
            self.holder.size(address)
        } else {
            self.holder.inherited_size(address)
        }
    }
}

/// Replaces `Buffer malloc(size_t)`.
unsafe extern "C-unwind" fn malloc(this: Object, size: usize) -> *mut c_void {
    let Some(adapter) = ADAPTER.get() else { return ptr::null_mut() };
    let served = catch_unwind(AssertUnwindSafe(|| adapter.allocate(size)));
    match served.unwrap_or(Err(Refusal::AskMlx)) {
        Ok(buffer) => buffer,
        // SAFETY: this is the object's own function, and MLX made the call.
        Err(Refusal::AskMlx) => unsafe { (adapter.before.malloc)(this, size) },
        Err(Refusal::Final(error)) => {
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
    let ours = catch_unwind(AssertUnwindSafe(|| adapter.size(buffer as usize)));
    match ours.unwrap_or(Some(0)) {
        Some(size) => size,
        // SAFETY: the buffer is not ours, so MLX's own function allocated it.
        None => unsafe { (adapter.before.size)(this, buffer) },
    }
}

//! The functions that PyTorch's pluggable allocator needs.
//!
//! `torch.cuda.memory.CUDAPluggableAllocator(library, "warmheap_malloc", "warmheap_free")` is enough for one
//! stream. Programs that share tensors between streams also set `record_stream`. The other hooks serve
//! `empty_cache` and graph capture. Each GPU gets its pools at its first use. Their configuration is the file
//! that `WARMHEAP_CONFIG` names; without it, the pools size themselves.
//!
//! These functions may throw C++ exceptions, because PyTorch expects an allocator to do so.

mod arena;
mod gpu;
mod graphs;
mod guests;
mod keeper;
mod live;
mod report;
mod throw;

use std::ffi::{c_char, c_int, c_void};
use std::panic::catch_unwind;
use std::ptr;

use gpu::{Gpu, Refusal};
pub use graphs::warmheap_pool_id;
pub use {gpu::configure, report::report};

use crate::status::fitting;

const DEFECT: &str = "a defect in Warmheap; please report it";

/// Returns the GPU that a request is for. The first request starts the writing of statistics.
fn gpu_of_request(device: c_int) -> Result<&'static Gpu, Refusal> {
    report::start_writing();
    Gpu::at(device).map_err(Refusal::Other)
}

/// Allocates memory for work on `stream`. Throws `c10::OutOfMemoryError` if there is no memory, and
/// `c10::Error` if anything else is wrong. Returns null for a size of 0. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn warmheap_malloc(size: usize, device: c_int, stream: *mut c_void) -> *mut c_void {
    if size == 0 {
        return ptr::null_mut();
    }
    let answer = catch_unwind(|| gpu_of_request(device)?.allocate(size as u64, stream.addr()));
    // Exceptions are thrown here, outside `catch_unwind`, because they may not cross it.
    match answer {
        Ok(Ok(address)) => return ptr::with_exposed_provenance_mut(address as usize),
        Ok(Err(Refusal::OutOfMemory(reason))) => throw::out_of_memory(&reason),
        Ok(Err(Refusal::Other(reason))) => throw::refused(&reason),
        Err(_) => throw::refused(DEFECT),
    }
    ptr::null_mut()
}

/// Frees memory. Later work on `stream`, for which it was allocated, may use it at once. Other streams may
/// use it when all work that uses it is done. A wrong `device` does no harm. Memory that is not Warmheap's is
/// left alone. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn warmheap_free(
    address: *mut c_void,
    size: usize,
    device: c_int,
    stream: *mut c_void,
) {
    if address.is_null() {
        return;
    }
    let _ = (size, stream); // The buffer knows both.
    // Destructors call this, so it throws nothing. Memory that cannot be freed stays taken.
    let _ = catch_unwind(|| Gpu::free_anywhere(address.addr() as u64, device));
}

/// Hook `set_record_stream_fn`: notes that `stream` uses the memory at `address`, too. When the memory is
/// freed, it is not reused before the work that `stream` has by then is done. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_record_stream(address: *mut c_void, stream: *mut c_void) {
    let _ = catch_unwind(|| Gpu::opened().any(|gpu| gpu.record(address.addr() as u64, stream.addr())));
}

/// Hook `set_init_fn`: starts writing statistics if `WARMHEAP_STATS` names a file. The first allocation does
/// so, too. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_init(devices: c_int) {
    let _ = devices; // Each GPU is opened at its first use.
    let _ = catch_unwind(report::start_writing);
}

/// Hook `set_reset_fn`, behind `torch.cuda.empty_cache()`: gives free memory back to the devices. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_empty_cache() {
    let _ = catch_unwind(|| Gpu::opened().for_each(|gpu| drop(gpu.trim())));
}

/// Hook `set_begin_allocate_to_pool`: announces the capture of a graph. What the capture allocates belongs to
/// private pool `id`. Throws `c10::Error` if another capture is under way on the device. PyTorch passes
/// `filter` to identify the capture's streams; this function does not need it. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn warmheap_begin_allocate_to_pool(
    device: c_int,
    id: warmheap_pool_id,
    filter: *const c_void,
) {
    let _ = filter;
    let answer = catch_unwind(|| gpu_of_request(device)?.begin_capture(id));
    match answer {
        Ok(Ok(())) => {}
        Ok(Err(Refusal::OutOfMemory(reason) | Refusal::Other(reason))) => throw::refused(&reason),
        Err(_) => throw::refused(DEFECT),
    }
}

/// Hook `set_end_allocate_to_pool_fn`: ends the capture. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_end_allocate_to_pool(device: c_int, id: warmheap_pool_id) {
    let _ = catch_unwind(|| Gpu::opened_at(device).map(|gpu| gpu.end_capture(id)));
}

/// Hook `set_release_pool`: notes that one of the graphs captured into private pool `id` is gone. The private
/// pool's memory goes back to the device when its last graph and its last buffer are gone. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_release_pool(device: c_int, id: warmheap_pool_id) {
    let _ = catch_unwind(|| Gpu::opened_at(device).map(|gpu| gpu.release_graph(id)));
}

/// Resets the statistics of all pools, so that peaks start again from the present values. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_reset_peaks() {
    let reset = || {
        let arenas = Gpu::opened().flat_map(Gpu::arenas);
        arenas.for_each(|arena| arena.pool.reset_statistics());
    };
    let _ = catch_unwind(reset);
}

/// Writes the statistics of all pools to `text` as JSON. Writes as much as fits into `capacity` bytes, with a
/// zero byte at the end. Returns the bytes that the whole text takes, the zero byte included. Since 0.1.
///
/// # Safety
/// `text` is null or has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warmheap_statistics_json(text: *mut c_char, capacity: usize) -> usize {
    let report = catch_unwind(|| report::report().to_string()).unwrap_or_default();
    if !text.is_null() && capacity > 0 {
        let fits = fitting(&report, capacity - 1);
        // SAFETY: the caller promises room for `capacity` bytes, and `fits` and the zero byte fit.
        unsafe {
            text.copy_from(fits.as_ptr().cast(), fits.len());
            text.add(fits.len()).write(0);
        }
    }
    report.len() + 1
}

//! The functions that PyTorch's pluggable allocator takes.
//!
//! `torch.cuda.memory.CUDAPluggableAllocator(library, "warmheap_malloc", "warmheap_free")` is
//! enough for one stream. Programs that share tensors between streams also set `record_stream`;
//! `empty_cache` and graph capture are served by the other hooks. Each GPU gets its pools at
//! its first use, from the file that `WARMHEAP_CONFIG` names, else sizing themselves.
//!
//! These functions may throw C++ exceptions: PyTorch expects an allocator to.

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

const DEFECT: &str = "a defect in Warmheap; please report it";

/// Returns the GPU that a request is for. The first request starts the writing of statistics.
fn gpu_of_request(device: c_int) -> Result<&'static Gpu, Refusal> {
    report::start_writing();
    Gpu::at(device).map_err(Refusal::Other)
}

/// Allocates for work on `stream`. Throws `c10::OutOfMemoryError` where there is no memory, and
/// `c10::Error` where something else is wrong. Null for a size of 0.
#[unsafe(no_mangle)]
pub extern "C-unwind" fn warmheap_malloc(size: usize, device: c_int, stream: *mut c_void) -> *mut c_void {
    if size == 0 {
        return ptr::null_mut();
    }
    let answer = catch_unwind(|| gpu_of_request(device)?.allocate(size as u64, stream.addr()));
    // Exceptions are thrown here, past the stop for panics, which they may not cross.
    match answer {
        Ok(Ok(address)) => return ptr::with_exposed_provenance_mut(address as usize),
        Ok(Err(Refusal::OutOfMemory(reason))) => throw::out_of_memory(&reason),
        Ok(Err(Refusal::Other(reason))) => throw::refused(&reason),
        Err(_) => throw::refused(DEFECT),
    }
    ptr::null_mut()
}

/// Takes memory back from `stream`, the one it was allocated for: later work there may use it at
/// once, other streams when all work that uses it is done.
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
    let _ = (size, stream); // The buffer knows.
    // Destructors call this, so nothing is thrown: what cannot be freed stays taken.
    let _ = catch_unwind(|| Gpu::at(device).map(|gpu| gpu.free(address.addr() as u64)));
}

/// Hook `set_record_stream_fn`: `stream` uses the memory at `address` too, which is not reused
/// before that stream's work at the time of the free is done.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_record_stream(address: *mut c_void, stream: *mut c_void) {
    let _ = catch_unwind(|| Gpu::opened().any(|gpu| gpu.record(address.addr() as u64, stream.addr())));
}

/// Hook `set_init_fn`: starts writing statistics, if `WARMHEAP_STATS` names a file. The first
/// allocation does too.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_init(devices: c_int) {
    let _ = devices; // Each is opened at its first use.
    let _ = catch_unwind(report::start_writing);
}

/// Hook `set_reset_fn`, behind `torch.cuda.empty_cache()`: gives memory that nobody uses back to
/// the devices.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_empty_cache() {
    let _ = catch_unwind(|| Gpu::opened().for_each(|gpu| drop(gpu.trim())));
}

/// Hook `set_begin_allocate_to_pool`: a graph is about to be captured, and what the capture
/// allocates belongs to private pool `id`. Throws `c10::Error` if another capture is under way on
/// the device. `filter`, which PyTorch passes to tell the capture's streams, is not needed.
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

/// Hook `set_end_allocate_to_pool_fn`: the capture is over.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_end_allocate_to_pool(device: c_int, id: warmheap_pool_id) {
    let _ = catch_unwind(|| Gpu::at(device).map(|gpu| gpu.end_capture(id)));
}

/// Hook `set_release_pool`: one of the graphs captured into private pool `id` is gone. With the last
/// one, and the last buffer, the pool's memory goes back to the device.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_release_pool(device: c_int, id: warmheap_pool_id) {
    let _ = catch_unwind(|| Gpu::at(device).map(|gpu| gpu.release_graph(id)));
}

/// Starts the peaks of all pools anew.
#[unsafe(no_mangle)]
pub extern "C" fn warmheap_reset_peaks() {
    let reset = || {
        let arenas = Gpu::opened().flat_map(Gpu::arenas);
        arenas.for_each(|arena| arena.pool.reset_statistics());
    };
    let _ = catch_unwind(reset);
}

/// Writes the statistics of all pools as JSON into `text`, as much as fits into `capacity` bytes
/// with a zero byte at the end, and returns the bytes that a whole answer takes.
///
/// # Safety
/// `text` is null or has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn warmheap_statistics_json(text: *mut c_char, capacity: usize) -> usize {
    let report = catch_unwind(|| report::report().to_string()).unwrap_or_default();
    if !text.is_null() && capacity > 0 {
        let len = report.len().min(capacity - 1);
        // SAFETY: the caller's promise; `len` and the zero byte fit.
        unsafe {
            text.copy_from(report.as_ptr().cast(), len);
            text.add(len).write(0);
        }
    }
    report.len() + 1
}

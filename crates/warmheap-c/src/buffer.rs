//! The functions that allocate, inspect and free buffers.

use std::ffi::{c_char, c_void};

use warmheap::Request;

use crate::handles;
use crate::pool::wh_pool;
use crate::status::{Failure, guarded, put, text, wh_status};

/// The handle of a buffer. All zeros is the handle of no buffer.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(non_camel_case_types)]
pub struct wh_buffer {
    /// The number has no meaning to callers.
    pub id: u64,
}

/// The place and size of a buffer.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct wh_buffer_info {
    /// The device's address of the first byte.
    pub device_address: u64,
    /// The CPU's pointer to the first byte; null if the CPU cannot access this memory.
    pub host_ptr: *mut c_void,
    /// The requested bytes.
    pub size: u64,
    /// True if the buffer is straight from the device, because no heap could serve the request.
    pub is_fallback: bool,
}

/// A flag for `wh_allocate`: the memory reads as zero.
pub const WH_ZEROED: u32 = 1;
/// A flag for `wh_allocate`: the call fails if no heap can serve it, and takes no buffer straight from the
/// device.
pub const WH_NO_FALLBACK: u32 = 2;

/// Allocates `size` bytes. `align` is a power of two in bytes, or 0 for the device's own alignment. `flags`
/// is a sum of `WH_ZEROED` and `WH_NO_FALLBACK`, or 0. `tag` names the purpose and may be null. The library
/// keeps every tag as long as the process lives, so a program should use tens of tags, not millions.
///
/// # Safety
/// `tag` is null or ends with a zero byte. `buffer` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_allocate(
    pool: wh_pool,
    size: u64,
    align: u64,
    flags: u32,
    tag: *const c_char,
    buffer: *mut wh_buffer,
) -> wh_status {
    guarded(|| {
        if buffer.is_null() {
            return Err(Failure::argument("buffer is null"));
        }
        let unknown = flags & !(WH_ZEROED | WH_NO_FALLBACK);
        if unknown != 0 {
            return Err(Failure::argument(format!("flags holds unknown bits: {unknown:#x}")));
        }
        let pool = handles::pool(pool.id)?;
        let mut request = Request::new(size).align(align);
        // SAFETY: the caller keeps this function's contract.
        if let Some(tag) = unsafe { text(tag, "tag") }? {
            request = request.tag(tag);
        }
        if flags & WH_ZEROED != 0 {
            request = request.zeroed();
        }
        let allocated =
            pool.allocate(if flags & WH_NO_FALLBACK == 0 { request } else { request.no_fallback() });
        let id = handles::add_buffer(allocated?);
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(buffer, "buffer", wh_buffer { id }) }
    })
}

/// Writes the place and size of a buffer to `info`.
///
/// # Safety
/// `info` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_inspect(buffer: wh_buffer, info: *mut wh_buffer_info) -> wh_status {
    guarded(|| {
        let found = handles::with_buffer(buffer.id, |buffer| wh_buffer_info {
            device_address: buffer.device_address(),
            host_ptr: buffer.host_ptr().map_or(std::ptr::null_mut(), |p| p.as_ptr().cast()),
            size: buffer.size(),
            is_fallback: buffer.is_fallback(),
        })?;
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(info, "info", found) }
    })
}

/// Frees a buffer, from any thread. Freeing a buffer twice is an error and does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn wh_free(buffer: wh_buffer) -> wh_status {
    guarded(|| handles::remove_buffer(buffer.id).map(drop))
}

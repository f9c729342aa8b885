//! Buffers: asked for, looked at, freed.

use std::ffi::{c_char, c_void};

use warmheap::Request;

use crate::handles;
use crate::pool::wh_pool;
use crate::status::{Failure, guarded, put, text, wh_status};

/// A buffer. All zeros names none.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(non_camel_case_types)]
pub struct wh_buffer {
    /// Of no meaning to callers.
    pub id: u64,
}

/// Where a buffer is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct wh_buffer_info {
    /// The device's address of the first byte.
    pub address: u64,
    /// The CPU's pointer to it; null if the CPU cannot touch this memory.
    pub host: *mut c_void,
    /// The bytes that were asked for.
    pub size: u64,
    /// Straight from the device, because no heap could serve it.
    pub is_fallback: bool,
}

/// For `wh_allocate`: the memory reads as zero.
pub const WH_ZEROED: u32 = 1;
/// For `wh_allocate`: fail rather than ask the device.
pub const WH_NO_FALLBACK: u32 = 2;

/// Allocates `size` bytes. `align` is a power of two in bytes, or 0 for the device's own; `flags`
/// is a sum of `WH_ZEROED` and `WH_NO_FALLBACK`, or 0; `tag` names the purpose and may be null. Every
/// name is kept as long as the process lives: meant for tens of names, not millions.
///
/// # Safety
/// `tag` is null or ends with a zero byte; `buffer` is null or has room for the result.
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
        // SAFETY: the caller's promise.
        if let Some(tag) = unsafe { text(tag, "tag") }? {
            request = request.tag(tag);
        }
        if flags & WH_ZEROED != 0 {
            request = request.zeroed();
        }
        let allocated =
            if flags & WH_NO_FALLBACK == 0 { pool.allocate(request) } else { pool.try_allocate(request) };
        let id = handles::add_buffer(allocated?);
        // SAFETY: the caller's promise.
        unsafe { put(buffer, "buffer", wh_buffer { id }) }
    })
}

/// Says where a buffer is.
///
/// # Safety
/// `info` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_inspect(buffer: wh_buffer, info: *mut wh_buffer_info) -> wh_status {
    guarded(|| {
        let found = handles::with_buffer(buffer.id, |buffer| wh_buffer_info {
            address: buffer.address(),
            host: buffer.host().map_or(std::ptr::null_mut(), |p| p.as_ptr().cast()),
            size: buffer.size(),
            is_fallback: buffer.is_fallback(),
        })?;
        // SAFETY: the caller's promise.
        unsafe { put(info, "info", found) }
    })
}

/// Frees a buffer, from any thread. Freeing one twice is an error and does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn wh_free(buffer: wh_buffer) -> wh_status {
    guarded(|| handles::remove_buffer(buffer.id).map(drop))
}

//! The functions that allocate, inspect and free buffers.

mod growth;
mod movable;
mod names;
mod request;

use std::ffi::{c_char, c_void};

use warmheap::{AllocError, Buffer, Pool};
use warmheap_trace::Recorder;

use crate::pool::wh_pool;
use crate::sized::{self, sized};
use crate::status::{Failure, guarded, put, wh_status};
use crate::tables::{self, Entry, Held};

pub use growth::{wh_grow, wh_grow_or_move};
pub use movable::{wh_pin, wh_unpin};
pub use request::{WH_MOVABLE, WH_NO_FALLBACK, WH_NO_WAIT, WH_NON_BLOCKING, WH_ZEROED, wh_request};

/// The handle of a buffer. All zeros is the handle of no buffer.
/// Since 0.1, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(non_camel_case_types)]
pub struct wh_buffer {
    /// The number has no meaning to callers.
    pub id: u64,
}

/// The place and size of a buffer. Set `struct_size` before a call that fills it.
/// Since 0.2, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct wh_buffer_info {
    /// `sizeof(wh_buffer_info)`.
    pub struct_size: usize,
    /// The device's address of the first byte.
    pub device_address: u64,
    /// The CPU's pointer to the first byte; null if the CPU cannot access this memory.
    pub host_ptr: *mut c_void,
    /// The requested bytes.
    pub size: u64,
    /// How often compaction has moved the buffer. Addresses from before the last move are stale.
    pub moves: u64,
    /// True if the buffer is straight from the device, because no heap could serve the request.
    pub is_fallback: bool,
}

sized! { wh_buffer_info, is_fallback: bool }

impl Default for wh_buffer_info {
    fn default() -> Self {
        let host_ptr = std::ptr::null_mut();
        let struct_size = size_of::<Self>();
        Self { struct_size, device_address: 0, host_ptr, size: 0, moves: 0, is_fallback: false }
    }
}

impl wh_buffer_info {
    fn of(buffer: &Buffer, moves: u64) -> Self {
        Self {
            device_address: buffer.device_address(),
            host_ptr: buffer.host_ptr().map_or(std::ptr::null_mut(), |p| p.as_ptr().cast()),
            size: buffer.size(),
            moves,
            is_fallback: buffer.is_fallback(),
            ..Self::default()
        }
    }
}

/// Allocates `size` bytes. `align` is a power of two in bytes, or 0 for the device's own alignment. `flags`
/// is a sum of `WH_ZEROED` and the other flags, or 0. `tag` names the purpose and may be null. The library
/// keeps every tag as long as the process lives, so a program should use tens of tags, not millions.
///
/// In C and C++ this is a macro that also passes the line, for leak reports; `WH_NO_CALL_SITES` prevents that.
/// `wh_allocate_with` takes more options. Since 0.1.
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
    // SAFETY: the caller keeps this function's contract.
    unsafe { wh_allocate_at(pool, size, align, flags, tag, buffer, std::ptr::null(), 0) }
}

/// As `wh_allocate`, for a caller at `line` of `file`, which may be null. Since 0.2.
///
/// # Safety
/// As `wh_allocate`. `file` is null or ends with a zero byte.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)]
pub unsafe extern "C" fn wh_allocate_at(
    pool: wh_pool,
    size: u64,
    align: u64,
    flags: u32,
    tag: *const c_char,
    buffer: *mut wh_buffer,
    file: *const c_char,
    line: u32,
) -> wh_status {
    let request = wh_request { file, line, flags, size, align, tag, ..wh_request::default() };
    // SAFETY: the request is there, and the caller keeps this function's contract.
    unsafe { wh_allocate_with(pool, &raw const request, buffer) }
}

/// Allocates what `request` says. Since 0.2.
///
/// # Safety
/// `request` is null or points to a request, whose texts are null or end with a zero byte. `buffer` is null
/// or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_allocate_with(
    pool: wh_pool,
    request: *const wh_request,
    buffer: *mut wh_buffer,
) -> wh_status {
    guarded(|| {
        // SAFETY: the caller keeps this function's contract.
        let asked = unsafe { wh_request::read(request) }?;
        let serve = |pool: &Pool, recorder: Option<&Recorder>| {
            Held::from_pool(pool, recorder, asked.request, asked.movable)
        };
        // SAFETY: the caller keeps this function's contract.
        unsafe { allocate(pool.id, buffer, serve) }
    })
}

/// Gets a buffer from a pool and writes its handle to `out`.
///
/// # Safety
/// `out` is null or has room for the result.
pub(crate) unsafe fn allocate(
    pool: u64,
    out: *mut wh_buffer,
    serve: impl FnOnce(&Pool, Option<&Recorder>) -> Result<Held, AllocError>,
) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::argument("buffer is null"));
    }
    let (library, recorder) = tables::pool_and_recorder(pool)?;
    let held = serve(&library, recorder.as_ref())?;
    let id = tables::add_buffer(Entry::new(held, pool, library.process()));
    // SAFETY: the caller keeps this function's contract.
    unsafe { put(out, "buffer", wh_buffer { id }) }
}

/// Writes the place and size of a buffer to `info`. A movable buffer has a place while it is pinned.
/// Since 0.1.
///
/// # Safety
/// `info` is null or points to a struct whose `struct_size` is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_inspect(buffer: wh_buffer, info: *mut wh_buffer_info) -> wh_status {
    guarded(|| {
        // A movable buffer is looked at when its table is no longer locked.
        let seen = tables::with_buffer(buffer.id, |entry| match entry.held()? {
            Held::Fixed(fixed) => Ok(Ok(wh_buffer_info::of(fixed.buffer(), 0))),
            Held::Movable(movable) if movable.is_pinned() => Ok(Err(movable.share())),
            Held::Movable(_) => Err(Failure::order("the buffer may move; wh_pin tells where it is")),
        })?;
        let found = seen.unwrap_or_else(|pinned| movable::place(&pinned));
        // SAFETY: the caller keeps this function's contract.
        unsafe { sized::write(info, "info", &found) }
    })
}

/// Frees a buffer, from any thread. Freeing a buffer twice is an error and does nothing. A pinned buffer cannot
/// be freed; unpin it first. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wh_free(buffer: wh_buffer) -> wh_status {
    guarded(|| {
        let unpinned = |entry: &mut Entry| match entry.held()? {
            Held::Movable(movable) if movable.is_pinned() => {
                Err(Failure::order("the buffer is pinned; unpin it before it is freed"))
            }
            _ => Ok(()),
        };
        tables::remove_buffer(buffer.id, unpinned).map(drop)
    })
}

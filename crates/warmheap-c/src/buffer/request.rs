//! Requests: what a program asks for.

use std::ffi::c_char;
use std::time::Duration;

use warmheap::Request;

use super::names;
use crate::sized::{self, sized};
use crate::status::Failure;
use crate::text::text;

/// A flag of requests: the memory reads as zero. Since 0.1.
pub const WH_ZEROED: u32 = 1;
/// A flag of requests: the call fails if no heap can serve it, and takes no buffer straight from the device.
/// Since 0.1.
pub const WH_NO_FALLBACK: u32 = 2;
/// A flag of requests: the call never waits for memory in flight, whatever the pool's `wait_ms` says.
/// Since 0.2.
pub const WH_NO_WAIT: u32 = 4;
/// A flag of requests: the call returns `WH_WOULD_BLOCK` where only a device call or another thread could
/// serve it. For callers that hold a lock of their own. Since 0.2.
pub const WH_NON_BLOCKING: u32 = 8;
/// A flag of requests: compaction may move the buffer while it is not pinned; see `wh_pin`. Since 0.2.
pub const WH_MOVABLE: u32 = 16;

const ALL: u32 = WH_ZEROED | WH_NO_FALLBACK | WH_NO_WAIT | WH_NON_BLOCKING | WH_MOVABLE;

/// A request for memory. Begin with `wh_request request = WH_REQUEST_INIT;`, which sets the size of the struct
/// and the line for leak reports, and set what matters.
/// Since 0.2, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct wh_request {
    /// `sizeof(wh_request)`.
    pub struct_size: usize,
    /// The file that asks, for leak reports: `__FILE__`, or null. The library keeps every line of source that
    /// it has seen.
    pub file: *const c_char,
    /// The line of `file`.
    pub line: u32,
    /// A sum of `WH_ZEROED` and the other flags, or 0.
    pub flags: u32,
    /// Bytes, at least 1.
    pub size: u64,
    /// A power of two in bytes that divides the address, or 0 for the device's own alignment.
    pub align: u64,
    /// The bytes that the buffer may grow to in place, or 0; see `wh_grow`.
    pub growable: u64,
    /// How many milliseconds the call may wait for memory in flight if nothing else can serve it; 0 means the
    /// pool's `wait_ms`.
    pub wait_ms: u64,
    /// The purpose, for leak reports and quotas, or null. The library keeps every tag as long as the process
    /// lives, so a program should use tens of tags, not millions.
    pub tag: *const c_char,
}

sized! { wh_request, tag: *const c_char }

impl Default for wh_request {
    fn default() -> Self {
        let (struct_size, none) = (size_of::<Self>(), std::ptr::null());
        let (line, flags, size, align, growable, wait_ms) = Default::default();
        Self { struct_size, file: none, line, flags, size, align, growable, wait_ms, tag: none }
    }
}

/// A request as the library takes it.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) movable: bool,
}

impl wh_request {
    /// Returns the request at `place`.
    ///
    /// # Safety
    /// `place` is null or points to a request, whose texts are null or end with a zero byte.
    pub(crate) unsafe fn read(place: *const Self) -> Result<Asked, Failure> {
        // SAFETY: the caller keeps this function's contract.
        let asked: Self = unsafe { sized::read(place, "request") }?;
        let unknown = asked.flags & !ALL;
        if unknown != 0 {
            return Err(Failure::argument(format!("flags holds unknown bits: {unknown:#x}")));
        }
        let has = |flag: u32| asked.flags & flag != 0;
        if has(WH_MOVABLE) && asked.growable > 0 {
            return Err(Failure::argument(
                "a movable buffer does not grow: leave WH_MOVABLE or growable out",
            ));
        }
        if has(WH_NO_WAIT) && asked.wait_ms > 0 {
            return Err(Failure::argument("WH_NO_WAIT and wait_ms contradict each other"));
        }
        let mut request = Request::new(asked.size).align(asked.align).growable(asked.growable);
        // SAFETY: the caller keeps this function's contract.
        if let Some(tag) = unsafe { text(asked.tag, "tag") }? {
            request = request.tag(names::tag(tag));
        }
        // SAFETY: the caller keeps this function's contract.
        let file = unsafe { text(asked.file, "file") }?;
        request = request.call_site(match file {
            Some(file) => names::site(file, asked.line),
            None => names::site("an unnamed line of C", 0),
        });
        if has(WH_ZEROED) {
            request = request.zeroed();
        }
        if has(WH_NO_FALLBACK) {
            request = request.no_fallback();
        }
        if has(WH_NON_BLOCKING) {
            request = request.non_blocking();
        }
        if has(WH_NO_WAIT) {
            request = request.wait(Duration::ZERO);
        } else if asked.wait_ms > 0 {
            request = request.wait(Duration::from_millis(asked.wait_ms));
        }
        Ok(Asked { request, movable: has(WH_MOVABLE) })
    }
}

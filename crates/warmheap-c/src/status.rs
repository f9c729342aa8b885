//! The status that every function returns, and the text of the last error.

use std::cell::UnsafeCell;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use warmheap::config::ConfigError;
use warmheap::device::DeviceError;
use warmheap::fork::Forked;
use warmheap::{AllocError, StartError};

/// The result of a call. `wh_last_error` returns the reason for a failure as text. Since 0.1, as
/// are the values without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum wh_status {
    /// The call succeeded.
    WH_OK = 0,
    /// An argument was null, out of range or not UTF-8.
    WH_INVALID_ARGUMENT = 1,
    /// The handle names nothing: it was never made, or its object is closed or freed.
    WH_INVALID_HANDLE = 2,
    /// The configuration was refused.
    WH_INVALID_CONFIG = 3,
    /// Neither the heaps nor the device had the memory.
    WH_OUT_OF_MEMORY = 4,
    /// This machine has no such device.
    WH_UNAVAILABLE = 5,
    /// The device failed.
    WH_DEVICE_ERROR = 6,
    /// The library has a defect. The effect of the call is unknown.
    WH_INTERNAL = 7,
    /// The handle belongs to a parent process, of which this one is a fork. The call did nothing.
    WH_FORKED = 8,
    /// The tag's quota does not allow the request. Since 0.2.
    WH_QUOTA_EXCEEDED = 9,
    /// The buffer has no room to grow where it is; `wh_grow_or_move` moves it. Since 0.2.
    WH_CANNOT_GROW = 10,
    /// The request may not wait, and only a device call or another thread could have served it. Since 0.2.
    WH_WOULD_BLOCK = 11,
    /// The call comes too early, too late or twice. It did nothing. Since 0.2.
    WH_WRONG_ORDER = 12,
    /// The device lost the queue, which makes no more progress. Since 0.2.
    WH_QUEUE_LOST = 13,
    /// A trace could not be written. Since 0.2.
    WH_FILE_ERROR = 14,
}

/// The status and the text of a call that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: wh_status,
    text: String,
}

impl Failure {
    pub(crate) fn new(status: wh_status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(crate) fn order(text: impl Into<String>) -> Self {
        Self::new(wh_status::WH_WRONG_ORDER, text)
    }

    pub(crate) fn argument(text: impl Into<String>) -> Self {
        Self::new(wh_status::WH_INVALID_ARGUMENT, text)
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        let status = match error {
            DeviceError::OutOfMemory { .. }
            | DeviceError::TooLarge { .. }
            | DeviceError::PastLimit { .. } => wh_status::WH_OUT_OF_MEMORY,
            DeviceError::Unavailable { .. } => wh_status::WH_UNAVAILABLE,
            DeviceError::Forked(_) => wh_status::WH_FORKED,
            DeviceError::Lost { .. } => wh_status::WH_QUEUE_LOST,
            _ => wh_status::WH_DEVICE_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<Forked> for Failure {
    fn from(error: Forked) -> Self {
        Self::new(wh_status::WH_FORKED, error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(wh_status::WH_INVALID_CONFIG, error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let status = match &error {
            StartError::Heap { source, .. } | StartError::WarmUp { source, .. } => {
                Self::from(source.clone()).status
            }
            _ => wh_status::WH_INVALID_CONFIG,
        };
        Self::new(status, error.to_string())
    }
}

impl From<AllocError> for Failure {
    fn from(error: AllocError) -> Self {
        let status = match &error {
            AllocError::ZeroSize | AllocError::BadAlignment { .. } => wh_status::WH_INVALID_ARGUMENT,
            AllocError::OutOfMemory(_) => wh_status::WH_OUT_OF_MEMORY,
            AllocError::QuotaExceeded(_) => wh_status::WH_QUOTA_EXCEEDED,
            AllocError::CannotGrow(_) => wh_status::WH_CANNOT_GROW,
            AllocError::WouldBlock => wh_status::WH_WOULD_BLOCK,
            AllocError::Forked(_) => wh_status::WH_FORKED,
            _ => wh_status::WH_DEVICE_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

/// The most bytes of an error's text, its zero byte included. More is cut.
const MOST: usize = 4096;

thread_local! {
    /// The text of the last failure. It has no destructor, so it is there until the thread is gone, and its
    /// place never changes.
    static LAST: UnsafeCell<[u8; MOST]> = const { UnsafeCell::new([0; MOST]) };
}

/// Returns the reason for the last failure of a call on this thread, or an empty text if no call has failed.
/// The pointer is never null, and the caller does not free it. It is the same for all calls on a thread and
/// valid until the thread ends; the next call that fails writes another text there. A text has at most 4095
/// bytes. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wh_last_error() -> *const c_char {
    LAST.with(|last| last.get().cast())
}

/// Keeps the text of a failure for [`wh_last_error`].
fn keep(text: &str) {
    let text = text.replace('\0', " ");
    let fits = fitting(&text, MOST - 1);
    LAST.with(|last| {
        let place: *mut u8 = last.get().cast();
        // SAFETY: only this thread writes here, the text and its zero byte fit, and no reference to the place
        // exists.
        unsafe {
            std::ptr::copy_nonoverlapping(fits.as_ptr(), place, fits.len());
            place.add(fits.len()).write(0);
        }
    });
}

/// Runs the body of an exported function. Keeps the text of a failure, and turns a panic into a failure.
pub(crate) fn guarded(body: impl FnOnce() -> Result<(), Failure>) -> wh_status {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Failure::new(wh_status::WH_INTERNAL, "a defect in the library; please report it"))
    });
    match result {
        Ok(()) => wh_status::WH_OK,
        Err(failure) => {
            keep(&failure.text);
            failure.status
        }
    }
}

/// Writes a result to the caller's memory.
///
/// # Safety
/// `out` is null or points to memory for a `T`.
pub(crate) unsafe fn put<T>(out: *mut T, name: &str, value: T) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::argument(format!("{name} is null")));
    }
    // SAFETY: the caller keeps this function's contract.
    unsafe { out.write(value) };
    Ok(())
}

/// Returns as much of `text` as fits into `room` bytes, without cutting a character.
pub(crate) fn fitting(text: &str, room: usize) -> &str {
    let end = (0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

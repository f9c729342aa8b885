//! What every function answers, and the words to go with it.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use warmheap::config::ConfigError;
use warmheap::device::DeviceError;
use warmheap::{AllocError, StartError};

/// How a call ended. `wh_last_error` has the words.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum wh_status {
    /// Done.
    WH_OK = 0,
    /// An argument was null, out of range or not UTF-8.
    WH_INVALID_ARGUMENT = 1,
    /// The handle names nothing: never made, closed or freed before.
    WH_INVALID_HANDLE = 2,
    /// The configuration was refused.
    WH_INVALID_CONFIG = 3,
    /// Neither the heaps nor the device have the memory.
    WH_OUT_OF_MEMORY = 4,
    /// There is no such device here.
    WH_UNAVAILABLE = 5,
    /// The device failed.
    WH_DEVICE_ERROR = 6,
    /// A defect of the library itself; the call had no effect that can be told.
    WH_INTERNAL = 7,
}

/// A failed call on its way out.
#[derive(Debug)]
pub(crate) struct Failure {
    status: wh_status,
    text: String,
}

impl Failure {
    pub(crate) fn new(status: wh_status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
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
            _ => wh_status::WH_DEVICE_ERROR,
        };
        Self::new(status, error.to_string())
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
            AllocError::OutOfMemory(_) | AllocError::QuotaExceeded(_) => wh_status::WH_OUT_OF_MEMORY,
            _ => wh_status::WH_DEVICE_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Why the last call of this thread that did not answer `WH_OK` failed; an empty text if none has.
/// Never null. Valid until the next call of this library on this thread; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn wh_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Runs the body of an exported function: failures leave their words, panics stop here.
pub(crate) fn guarded(body: impl FnOnce() -> Result<(), Failure>) -> wh_status {
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        Err(Failure::new(wh_status::WH_INTERNAL, "a defect in the library; please report it"))
    });
    match result {
        Ok(()) => wh_status::WH_OK,
        Err(failure) => {
            let text = CString::new(failure.text.replace('\0', " ")).unwrap_or_default();
            // A thread on its way out has nowhere to keep words.
            let _ = LAST.try_with(|last| *last.borrow_mut() = text);
            failure.status
        }
    }
}

/// Text from C.
///
/// # Safety
/// `text` is null or points to a text that ends with a zero byte.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map(Some)
        .map_err(|_| Failure::argument(format!("{name} is not UTF-8")))
}

/// Where a result goes.
///
/// # Safety
/// `out` is null or points to memory for a `T`.
pub(crate) unsafe fn put<T>(out: *mut T, name: &str, value: T) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::argument(format!("{name} is null")));
    }
    // SAFETY: the caller's promise.
    unsafe { out.write(value) };
    Ok(())
}

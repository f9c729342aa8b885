//! Texts from C and for C.

use std::ffi::{CStr, c_char};

use crate::status::{Failure, fitting};

/// Returns a text from C; `None` if it is null.
///
/// # Safety
/// `text` is null or points to a text that ends with a zero byte. The text lives as long as `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller keeps this function's contract.
    unsafe { CStr::from_ptr(text) }
        .to_str()
        .map(Some)
        .map_err(|_| Failure::argument(format!("{name} is not UTF-8")))
}

/// Returns a text that the caller must give.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn given<'a>(given: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller keeps this function's contract.
    unsafe { text(given, name) }?.ok_or_else(|| Failure::argument(format!("{name} is null")))
}

/// Writes as much of `made` as fits into `capacity` bytes, with a zero byte at the end, and the bytes that the
/// whole text takes to `needed`, the zero byte included.
///
/// # Safety
/// `text` is null or has room for `capacity` bytes. `needed` is null or has room for the result.
pub(crate) unsafe fn put_text(
    made: &str,
    text: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> Result<(), Failure> {
    if text.is_null() && capacity > 0 {
        return Err(Failure::argument("text is null, and capacity is not 0"));
    }
    if text.is_null() && needed.is_null() {
        return Err(Failure::argument("text and needed are null"));
    }
    // A zero byte inside would end the text.
    let made = made.replace('\0', " ");
    if let Some(room) = capacity.checked_sub(1) {
        let fits = fitting(&made, room);
        // SAFETY: the caller has `capacity` bytes there, and `fits` is shorter.
        unsafe {
            std::ptr::copy_nonoverlapping(fits.as_ptr(), text.cast(), fits.len());
            text.add(fits.len()).write(0);
        }
    }
    if !needed.is_null() {
        // SAFETY: the caller has room there.
        unsafe { needed.write(made.len() + 1) };
    }
    Ok(())
}

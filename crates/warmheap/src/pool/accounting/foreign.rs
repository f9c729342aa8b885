//! Calls of code that is not the pool's: a device's methods, a queue's, and the destructors of what
//! they gave.
//!
//! Such code may panic. A call that does counts as failed, so that every caller goes on as it would
//! after any other failure and nothing in its hands is lost.
#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::device::DeviceError;

/// Makes a call; a panic is an error that has the panic's words.
pub(crate) fn call<R>(
    name: &'static str,
    work: impl FnOnce() -> Result<R, DeviceError>,
) -> Result<R, DeviceError> {
    // What the call leaves half-done is its own: the pool looks at none of it after a failure.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(name, &*panic)))
}

/// Ends a foreign value; a destructor that panics has ended it, too.
pub(crate) fn end<T>(value: T) -> Result<(), DeviceError> {
    call("drop", || {
        drop(value);
        Ok(())
    })
}

fn panicked(call: &'static str, panic: &(dyn Any + Send)) -> DeviceError {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    DeviceError::Failed { call, reason: format!("it panicked: {words}") }
}

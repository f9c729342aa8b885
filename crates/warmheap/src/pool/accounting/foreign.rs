//! Calls of code that is not the pool's: the methods of a device or a queue, and the destructors of what they
//! gave.
//!
//! Such code may panic, and a panic must never pass through the pool. A call that panics counts as failed.
//! Every caller then goes on as after any other failure, and loses nothing that it holds.
#![forbid(unsafe_code)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::device::DeviceError;

/// Makes a call. Turns a panic into an error with the panic's message.
pub(crate) fn call<R>(
    name: &'static str,
    work: impl FnOnce() -> Result<R, DeviceError>,
) -> Result<R, DeviceError> {
    // What the call leaves half-done is its own: the pool looks at none of it after a failure.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(name, &*panic)))
}

/// Drops a foreign value. A destructor that panics has ended the value, too.
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

//! A box for the details of an error, whose drop keeps the caller's `Result` out of memory.
//!
//! Errors are never made on the hot path, but the code that would drop one is all over it, wherever a caller
//! looks at a `Result`. The compiler leaves the drop of a plain `Box` out of line and passes it the address
//! of the whole `Result`. That forces the `Ok` value into memory. The value is then written in parts and at
//! once read back in larger ones, which makes a processor wait tens of cycles. The drop of this box therefore
//! takes the pointer by value. The address of the `Result` must never reach code that is not inlined.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// The details of an error, which read as if they were in it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ColdBox<T>(ManuallyDrop<Box<T>>);

impl<T> ColdBox<T> {
    pub(crate) fn new(details: T) -> Self {
        Self(ManuallyDrop::new(Box::new(details)))
    }
}

impl<T> Drop for ColdBox<T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: nothing uses the field after its owner's drop.
        drop_apart(unsafe { ManuallyDrop::take(&mut self.0) });
    }
}

#[cold]
#[inline(never)]
fn drop_apart<T>(details: Box<T>) {
    drop(details);
}

impl<T> Deref for ColdBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for ColdBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: fmt::Display> fmt::Display for ColdBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: std::error::Error> std::error::Error for ColdBox<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        (**self).source()
    }
}

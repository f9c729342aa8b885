//! What an error says at length, behind one pointer.
//!
//! Errors are never made on the hot path, but code that would drop one is all over it, wherever a
//! caller looks at a `Result`. A plain box's drop is code enough for the compiler to leave it out of
//! line and hand it the address of the whole result, which must then lie in memory, the buffer of
//! the good case with it: written in parts, read back at once in larger ones, which processors
//! cannot do without a wait of tens of cycles. Hence this box, whose drop takes the pointer by value.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;

/// Details of an error, to be read as if they were in it.
#[derive(Clone, PartialEq, Eq)]
pub struct ColdBox<T>(ManuallyDrop<Box<T>>);

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

//! Tests for what is built with Warmheap.
//!
//! [`conformance`] checks a device: a backend is done when it passes. [`soak`] checks pools on any
//! device: it plays traces under every hardship at once and keeps books of all of it.
//!
//! This crate stands on top of the pool and the traces, and uses their public interfaces alone. Nothing
//! here prints or panics, whatever a device or a pool does: what breaks a promise is a value that says
//! which, and with which figures.
#![deny(unsafe_code)]

pub mod conformance;
pub mod soak;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a panic elsewhere: that is reported where it happened.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Tests for devices and pools.
//!
//! [`conformance`] checks a device, and a backend is complete when it passes. [`soak`] checks pools on any
//! device. It plays traces in many kinds of trouble at once, and counts everything that happens.
//!
//! ```
//! use warmheap::device::sim::SimDevice;
//! use warmheap_testing::conformance;
//!
//! conformance::run(&SimDevice::new())?;
//! # Ok::<(), conformance::Failures>(())
//! ```
//!
//! This crate lies above the pool and the traces, and uses only their public interfaces. Nothing here prints
//! or panics, whatever a device or a pool does. A broken promise is a value that says which, with the
//! figures.
#![deny(unsafe_code)]

pub mod conformance;
pub mod soak;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks the mutex, also after a panic of another thread. That panic is reported where it happened.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

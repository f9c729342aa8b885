//! Locks that the standard library does not have.
//!
//! Nothing here knows of pools. Each primitive is small enough to be model-checked whole, over the
//! real code: under `--cfg loom` the atomics come from loom.

mod biased;
mod fence;

pub(crate) use biased::{Biased, Inside, Owner};

#[cfg(not(loom))]
pub(crate) use std::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering},
    sync::{Mutex, MutexGuard},
};

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, Ordering},
    sync::{Mutex, MutexGuard},
};

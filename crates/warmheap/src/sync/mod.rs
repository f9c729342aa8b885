//! Locks that the standard library does not have.
//!
//! Code that is model-checked also takes the locks, atomics and thread-local variables of the standard
//! library from here. Under `--cfg loom` they come from loom, which tries every interleaving and every
//! value that weak memory allows. Each primitive, and each piece of the pool that rests on memory order, is
//! small enough for that. Under `--cfg shuttle` they come from Shuttle, which runs whole pools under many
//! random schedules. Both run the real code. This module knows nothing of pools.
#![allow(unsafe_code)]

mod biased;
mod checked;
#[cfg(all(target_os = "linux", not(any(loom, shuttle, warmheap_symmetric))))]
mod cores;
mod fence;
#[cfg(all(test, loom))]
pub(crate) mod model;
mod patient;
#[cfg(all(test, target_os = "linux", not(any(loom, shuttle, warmheap_symmetric))))]
mod sandboxed;
#[cfg(all(test, not(any(loom, shuttle))))]
mod threads;

#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering, fence},
    sync::{Mutex, MutexGuard},
    thread::yield_now,
    thread_local,
};

pub(crate) use biased::{Biased, Inside, Owner, Taken};
pub(crate) use checked::{CheckedMutex, Holding};
pub(crate) use patient::{lock, try_lock};
#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering, fence},
    sync::{Mutex, MutexGuard},
    thread::yield_now,
    thread_local,
};
#[cfg(loom)]
pub(crate) use {
    loom::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering, fence},
    loom::sync::{Mutex, MutexGuard},
    loom::thread::yield_now,
    std::thread_local,
};

/// A cell that another lock guards. loom checks every access against every other.
#[derive(Debug)]
struct UnsafeCell<T>(#[cfg(not(loom))] std::cell::UnsafeCell<T>, #[cfg(loom)] loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    fn new(value: T) -> Self {
        #[cfg(not(loom))]
        return Self(std::cell::UnsafeCell::new(value));
        #[cfg(loom)]
        return Self(loom::cell::UnsafeCell::new(value));
    }

    /// # Safety
    /// While the reference lives, no other thread writes the value.
    #[inline(always)]
    unsafe fn get_ref(&self) -> &T {
        #[cfg(not(loom))]
        // SAFETY: the caller's promise.
        return unsafe { &*self.0.get() };
        #[cfg(loom)]
        // SAFETY: as above; loom checks it at this point.
        return self.0.with(|value| unsafe { &*value });
    }

    /// # Safety
    /// While the reference lives, no other reference to the value is used.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    unsafe fn get_mut_unchecked(&self) -> &mut T {
        #[cfg(not(loom))]
        // SAFETY: the caller's promise.
        return unsafe { &mut *self.0.get() };
        #[cfg(loom)]
        // SAFETY: as above; loom checks it at this point.
        return self.0.with_mut(|value| unsafe { &mut *value });
    }
}

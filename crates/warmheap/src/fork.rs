//! Detects processes that are children of `fork`.
//!
//! ```
//! use warmheap::fork::Process;
//!
//! let process = Process::current();
//! assert!(process.is_current()); // it would not be in a child of this process
//! ```
//!
//! A child has a copy of everything, but only one thread. A lock that another thread held stays locked for
//! ever, and what that thread was changing stays half changed. GPU memory does not belong to the child at
//! all. A child therefore touches nothing that it inherited. It gets [`Forked`], and what it drops is left
//! alone. It may open pools of its own.
//!
//! This module owns a count, which a handler of `pthread_atfork` raises in each child. Each object that a
//! child could inherit keeps the [`Process`] that made it and compares, off the hot path. The handlers do not
//! notice children that a bare system call creates.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The calling process. The lower half is its identifier. The upper half is the number of forks between it
/// and the first process that asked. It is 0 before anything asks.
static HERE: AtomicU64 = AtomicU64::new(0);

/// The process that made an object. A comparison is one load and asks no system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(u64);

/// The object belongs to a parent process, of which this one is a fork.
///
/// Pools, buffers and queues do not cross a fork. Make them in the child, or start it without `fork`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this belongs to process {parent}, and process {child} is a fork of it; make a pool in this process, or start \
     it without fork"
)]
pub struct Forked {
    /// The process that made the object.
    pub parent: u32,
    /// The process that used the object.
    pub child: u32,
}

impl Process {
    /// Returns the calling process.
    #[must_use]
    pub fn current() -> Self {
        static KNOWN: AtomicBool = AtomicBool::new(false);
        in_children(&KNOWN, count);
        let here = HERE.load(Ordering::Relaxed);
        if here != 0 {
            return Self(here);
        }
        // Several threads that get here at once store the same value.
        let here = std::process::id().into();
        HERE.store(here, Ordering::Relaxed);
        Self(here)
    }

    /// Returns whether the calling process is this one, and not a fork of it.
    #[inline]
    #[must_use]
    pub fn is_current(self) -> bool {
        self.0 == HERE.load(Ordering::Relaxed)
    }

    /// Returns an error in any process but this one.
    ///
    /// # Errors
    /// Returns [`Forked`] with both processes.
    #[inline]
    pub fn check(self) -> Result<(), Forked> {
        if self.is_current() { Ok(()) } else { Err(self.refusal()) }
    }

    #[cold]
    fn refusal(self) -> Forked {
        Forked { parent: self.0 as u32, child: std::process::id() }
    }
}

/// Runs in the child before anything else does. A second installation of the handler does no harm.
unsafe extern "C" fn count() {
    let forks = (HERE.load(Ordering::Relaxed) >> 32) + 1;
    HERE.store(forks << 32 | u64::from(std::process::id()), Ordering::Relaxed);
}

/// Makes each child of a fork run `act` before it goes on, from now on. `known` says whether that is
/// arranged. Two threads that find it unset both arrange it, because a thread that waited for the other could
/// be forked meanwhile.
pub(crate) fn in_children(known: &AtomicBool, act: unsafe extern "C" fn()) {
    if !known.load(Ordering::Acquire) {
        // SAFETY: `act` is a function of this library. The system forgets it if it unloads the library.
        let done = unsafe { libc::pthread_atfork(None, None, Some(act)) };
        known.store(done == 0, Ordering::Release);
    }
}

/// An object that exists once in a process, for the process that uses it first. Children of that process may
/// not use it.
#[derive(Debug, Default)]
pub struct FirstUse(AtomicU64);

impl FirstUse {
    /// Returns an object that no process has used.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes the object for the calling process, unless a parent has taken it.
    ///
    /// # Errors
    /// Returns [`Forked`] if a parent has taken it.
    pub fn take(&self) -> Result<(), Forked> {
        if self.is_here() {
            return Ok(());
        }
        let Process(here) = Process::current();
        match self.0.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(first) => Process(first).check(),
        }
    }

    /// Returns whether the calling process has taken the object.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let first = self.0.load(Ordering::Relaxed);
        first != 0 && Process(first).is_current()
    }
}

/// A value that only the process that made it drops. In a child it may be half changed.
pub(crate) struct Own<T> {
    value: ManuallyDrop<T>,
    process: Process,
}

impl<T> Own<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: ManuallyDrop::new(value), process: Process::current() }
    }
}

impl<T> Deref for Own<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        if self.process.is_current() {
            // SAFETY: the value is not used afterwards, and this is its only drop.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Own<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

//! Processes, and their children by `fork`.
//!
//! A child has a copy of everything, but one thread only: a lock that another thread held stays locked for
//! ever, and what that thread was changing stays half changed. Memory of a GPU is not the child's at all. So a
//! child touches nothing that it inherited: it gets [`Forked`], and what it drops is left alone. It may make
//! pools of its own.
//!
//! Owns a count that a handler of `pthread_atfork` raises in each child. Whatever could be inherited keeps the
//! [`Process`] that it was made in and compares, off the hot path. Children that are made past the handlers, by
//! a bare system call, are not noticed.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The calling process: its identifier in the lower half, and in the upper how many forks lie between it and the
/// first process that asked. 0 before anything asks.
static HERE: AtomicU64 = AtomicU64::new(0);

/// The process that something was made in. Compared with one load; no system is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(u64);

/// What was used belongs to a parent process, of which this one is a fork.
///
/// Pools, buffers and queues do not cross a fork: make them in the child, or start it without `fork`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this belongs to process {parent}, and process {child} is a fork of it; make a pool in this process, or start \
     it without fork"
)]
pub struct Forked {
    /// The process that it was made in.
    pub parent: u32,
    /// The process that used it.
    pub child: u32,
}

impl Process {
    /// The calling process.
    #[must_use]
    pub fn current() -> Self {
        static KNOWN: AtomicBool = AtomicBool::new(false);
        in_children(&KNOWN, count);
        let here = HERE.load(Ordering::Relaxed);
        if here != 0 {
            return Self(here);
        }
        // Threads that get here at once store the same.
        let here = std::process::id().into();
        HERE.store(here, Ordering::Relaxed);
        Self(here)
    }

    /// Whether the calling process is this one, not a fork of it.
    #[inline]
    #[must_use]
    pub fn is_current(self) -> bool {
        self.0 == HERE.load(Ordering::Relaxed)
    }

    /// Refuses in any process but this one.
    ///
    /// # Errors
    /// [`Forked`] with both processes.
    #[inline]
    pub fn check(self) -> Result<(), Forked> {
        if self.is_current() { Ok(()) } else { Err(self.refusal()) }
    }

    #[cold]
    fn refusal(self) -> Forked {
        Forked { parent: self.0 as u32, child: std::process::id() }
    }
}

/// Runs in the child before anything else does. That the handler may be there twice does no harm.
unsafe extern "C" fn count() {
    let forks = (HERE.load(Ordering::Relaxed) >> 32) + 1;
    HERE.store(forks << 32 | u64::from(std::process::id()), Ordering::Relaxed);
}

/// Has each child of a fork run `act` before it goes on, from now on. `known` says whether it is seen to; two
/// threads that find it unset both see to it, since one that waited for the other could be forked meanwhile.
pub(crate) fn in_children(known: &AtomicBool, act: unsafe extern "C" fn()) {
    if !known.load(Ordering::Acquire) {
        // SAFETY: `act` is a function of this library, which the system forgets if it unloads the library.
        let done = unsafe { libc::pthread_atfork(None, None, Some(act)) };
        known.store(done == 0, Ordering::Release);
    }
}

/// What exists once in a process, for whichever process uses it first: its children may not.
#[derive(Debug, Default)]
pub struct FirstUse(AtomicU64);

impl FirstUse {
    /// Nobody has used it so far.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes it for the calling process, unless a parent has.
    ///
    /// # Errors
    /// [`Forked`] if a parent has.
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

    /// Whether the calling process has taken it.
    #[must_use]
    pub fn is_here(&self) -> bool {
        let first = self.0.load(Ordering::Relaxed);
        first != 0 && Process(first).is_current()
    }
}

/// A value that is dropped in the process that made it alone: in a child it may be half changed.
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

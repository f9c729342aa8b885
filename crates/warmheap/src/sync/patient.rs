//! Locking of mutexes that are held for microseconds.
//!
//! A thread that sleeps takes tens of microseconds to run again, and the holder pays a system call to
//! wake it. Both cost far more than the wait itself. So a waiting thread spins for about as long as a
//! sleep would cost, and sleeps only then.
#![forbid(unsafe_code)]

use std::hint::spin_loop;
use std::sync::{PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::{Mutex, MutexGuard};

/// How long a thread spins: about the time that it takes to wake a thread on an idle processor.
const PATIENCE: Duration = Duration::from_micros(20);
/// The pauses between two attempts.
const PAUSES: u32 = 8;

/// Locks the mutex, even if another thread panicked while it held it. Code that can panic never leaves
/// the pool's state half changed.
#[inline]
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    if cfg!(any(loom, shuttle)) {
        // A model has no clock, and tries by itself what may happen while a thread waits.
        return mutex.lock().unwrap_or_else(PoisonError::into_inner);
    }
    try_lock(mutex).unwrap_or_else(|| wait(mutex))
}

/// As [`lock`], but returns `None` while another thread holds the mutex.
#[inline]
pub(crate) fn try_lock<T: ?Sized>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cold]
fn wait<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        (0..PAUSES).for_each(|_| spin_loop());
        if let Some(guard) = try_lock(mutex) {
            return guard;
        }
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Taking a mutex that is held for microseconds.
//!
//! A thread that goes to sleep takes tens of microseconds to get going again, and costs the holder a
//! system call to wake it: far more than it waits for. So it looks again for about as long as a
//! sleep would cost, and sleeps then.
#![forbid(unsafe_code)]

use std::hint::spin_loop;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// About what it takes to wake a thread on a processor that had nothing else to do.
const PATIENCE: Duration = Duration::from_micros(20);
/// Pauses between two looks.
const PAUSES: u32 = 8;

/// Locks, whether or not another thread panicked with the lock held: no state of ours is left
/// half-changed by code that can panic.
#[inline]
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    try_lock(mutex).unwrap_or_else(|| wait(mutex))
}

/// As [`lock`], but `None` while somebody else has it.
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

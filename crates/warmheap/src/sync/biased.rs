//! The biased lock: it costs its owner two plain stores and a load.
//!
//! One thread, the owner, enters and leaves without an atomic read-modify-write. Any other thread may
//! take the value too. It raises a flag, makes the owner's core see the flag, and waits for the owner to
//! leave. That takes microseconds and is meant for rare moments, as when memory is short, statistics are
//! reset or the pool closes. This is Dekker's mutual exclusion with the fences of [`Fences`]:
//!
//! ```text
//! owner                     other
//!   busy = 1                  revoked = 1
//!   light fence               heavy fence
//!   if revoked: step back     wait until busy == 0
//! ```
//!
//! With the fences, at least one of the two threads sees the other's store. A mutex serialises the other
//! threads. The owner also takes that mutex after it had to step back. A lock without an owner is just
//! the mutex.
//!
//! If the system stops helping with the heavy fence, a second bit of `revoked` tells the owner for good to
//! use [`Biased::enter_fenced`]. So the hot path has nothing more to look at.
#![allow(unsafe_code)]

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::fence::{self, Fences};
use super::{AtomicU32, Mutex, MutexGuard, Ordering, UnsafeCell, lock, try_lock, yield_now};

/// Another thread has the value or waits for it.
const WANTED: u32 = 1;
/// The light fence is not enough any more.
const DEMOTED: u32 = 2;

/// A value that one thread uses all the time and others rarely.
pub(crate) struct Biased<T> {
    busy: AtomicU32,
    /// A sum of [`WANTED`] and [`DEMOTED`]. Only threads that hold `others` change it.
    revoked: AtomicU32,
    fences: Fences,
    /// The mutex of the threads that take the value. Its content tells whether the lock has an owner.
    others: Mutex<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: one thread at a time reaches the value (see the module's documentation). So sharing the lock
// only moves the value between threads.
unsafe impl<T: Send> Sync for Biased<T> {}

/// The right to enter one lock as its owner. Each owned lock has exactly one. The thread that holds it is
/// the owner, and ending the ownership consumes it.
#[derive(Debug)]
#[must_use = "a lock whose right is lost keeps its owner for ever"]
pub(crate) struct Owner {
    /// The address of the lock, for comparison only.
    lock: NonZeroUsize,
}

impl<T> Biased<T> {
    /// Creates a lock without an owner.
    pub(crate) fn new(value: T) -> Self {
        Self {
            busy: AtomicU32::new(0),
            revoked: AtomicU32::new(0),
            fences: Fences::detect(),
            others: Mutex::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Makes the caller the owner. Returns `None` if the lock has an owner already.
    pub(crate) fn adopt(&self) -> Option<Owner> {
        let mut owned = self.turn();
        let free = !std::mem::replace(&mut *owned, true);
        free.then(|| Owner { lock: self.address() })
    }

    /// Ends the ownership. `owner` must be the right to this lock; the right to another lock ends nothing.
    pub(crate) fn leave(&self, owner: Owner) {
        debug_assert_eq!(owner.lock, self.address());
        if owner.lock == self.address() {
            *self.take().owned = false;
        }
    }

    /// Enters as the owner. Returns `None` while another thread has the value or wants it, and also if
    /// `owner` is the right to another lock. The right stays borrowed until the owner leaves, so the owner
    /// cannot enter twice.
    #[inline(always)]
    pub(crate) fn enter<'a>(&'a self, owner: &'a mut Owner) -> Option<Inside<'a, T>> {
        if owner.lock != self.address() {
            return None;
        }
        // SAFETY: the caller has borrowed the only right to this lock.
        unsafe { self.enter_as_owner() }
    }

    /// As [`Biased::enter`], for a thread that knows that it is the owner.
    ///
    /// # Safety
    /// The calling thread has adopted the lock, its ownership has not ended, and it is not inside.
    #[inline(always)]
    pub(crate) unsafe fn enter_as_owner(&self) -> Option<Inside<'_, T>> {
        debug_assert_eq!(self.busy.load(Ordering::Relaxed), 0, "the owner is inside already");
        self.busy.store(1, Ordering::Relaxed);
        self.fences.light();
        if self.revoked.load(Ordering::Acquire) != 0 {
            self.busy.store(0, Ordering::Release);
            return None;
        }
        Some(Inside { lock: self })
    }

    /// As [`Biased::enter_as_owner`], with a full fence. The owner of a lock whose light fence is not enough
    /// any more enters in this way alone.
    ///
    /// # Safety
    /// As for [`Biased::enter_as_owner`].
    #[cold]
    pub(crate) unsafe fn enter_fenced(&self) -> Option<Inside<'_, T>> {
        self.busy.store(1, Ordering::Relaxed);
        fence::full();
        if self.revoked.load(Ordering::Acquire) & WANTED != 0 {
            self.busy.store(0, Ordering::Release);
            return None;
        }
        Some(Inside { lock: self })
    }

    /// Takes the value. Any thread may call this; the owner only while it is not inside. The call waits
    /// for the owner to leave, and for other takers.
    pub(crate) fn take(&self) -> Taken<'_, T> {
        let owned = self.turn();
        if *owned {
            self.revoke();
            while self.busy.load(Ordering::Acquire) != 0 {
                // The owner's stay is some tens of instructions. A longer wait means that it lost its core.
                yield_now();
            }
        }
        Taken { lock: self, owned }
    }

    /// Makes the owner keep out. On return, `busy` tells whether the owner is inside, and it will not enter.
    /// The caller holds `others`.
    fn revoke(&self) {
        let demoted = self.revoked.load(Ordering::Relaxed) & DEMOTED;
        self.revoked.store(demoted | WANTED, Ordering::Relaxed);
        if demoted != 0 {
            fence::full();
        } else if !self.fences.heavy() {
            self.revoked.store(DEMOTED | WANTED, Ordering::Relaxed);
            fence::switch_all();
        }
    }

    /// As [`Biased::take`], without waiting. Returns `None` if another thread has the value, or if the
    /// lock has an owner.
    pub(crate) fn try_take(&self) -> Option<Taken<'_, T>> {
        let owned = self.try_turn()?;
        (!*owned).then_some(Taken { lock: self, owned })
    }

    fn address(&self) -> NonZeroUsize {
        NonNull::from(self).addr()
    }

    fn try_turn(&self) -> Option<MutexGuard<'_, bool>> {
        try_lock(&self.others)
    }

    fn turn(&self) -> MutexGuard<'_, bool> {
        lock(&self.others)
    }
}

impl<T> fmt::Debug for Biased<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Biased").field("fences", &self.fences).finish_non_exhaustive()
    }
}

/// The access of the owner while it is inside.
pub(crate) struct Inside<'a, T> {
    lock: &'a Biased<T>,
}

/// The access of a thread that took the value, whether or not it is the owner.
pub(crate) struct Taken<'a, T> {
    lock: &'a Biased<T>,
    owned: MutexGuard<'a, bool>,
}

impl<T> Drop for Inside<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.lock.busy.store(0, Ordering::Release);
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        let demoted = self.lock.revoked.load(Ordering::Relaxed) & DEMOTED;
        self.lock.revoked.store(demoted, Ordering::Release);
    }
}

impl<T> fmt::Debug for Inside<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Taken<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken").finish_non_exhaustive()
    }
}

impl<T> Deref for Inside<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the owner is inside, so no other thread reaches the value.
        unsafe { self.lock.value.get_ref() }
    }
}

impl<T> DerefMut for Inside<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; the guard is borrowed mutably, so this is the only reference.
        unsafe { self.lock.value.get_mut_unchecked() }
    }
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the owner has left and steps back if it enters. The mutex keeps other takers out.
        unsafe { self.lock.value.get_ref() }
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; the guard is borrowed mutably, so this is the only reference.
        unsafe { self.lock.value.get_mut_unchecked() }
    }
}

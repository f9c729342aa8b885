//! A lock that costs its owner two plain stores.
//!
//! One thread, the owner, enters and leaves with no atomic read-modify-write. Any other thread may
//! take the value too: it raises a flag, makes the owner's core see it, and waits for the owner to
//! leave; that costs microseconds and is for rare moments (memory is short, statistics are reset,
//! the pool shuts down). This is Dekker's mutual exclusion with the fence of [`Fences`]:
//!
//! ```text
//! owner                     other
//!   busy = 1                  revoked = 1
//!   light fence               heavy fence
//!   if revoked: stand back    wait until busy == 0
//! ```
//!
//! With the fence, at least one of the two sees the other. Others are serialised by a mutex, which
//! the owner also takes when it had to stand back. A lock that nobody owns is just that mutex.
#![allow(unsafe_code)]

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::fence::Fences;
use super::{AtomicU32, Mutex, MutexGuard, Ordering, UnsafeCell};

/// A value that one thread uses all the time and others rarely.
pub(crate) struct Biased<T> {
    busy: AtomicU32,
    revoked: AtomicU32,
    fences: Fences,
    /// Held by whoever has the value without owning it; says whether somebody owns it.
    others: Mutex<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time (see the module's essay), so sharing the
// lock moves the value between threads and no more.
unsafe impl<T: Send> Sync for Biased<T> {}

/// The right to enter one lock as its owner. There is one for each lock that is owned: whoever holds
/// it is the owner, and ending the ownership takes it away.
#[derive(Debug)]
#[must_use = "a lock whose right is lost has an owner for ever"]
pub(crate) struct Owner {
    /// The address of the lock, for comparison only.
    lock: NonZeroUsize,
}

impl<T> Biased<T> {
    /// A lock that nobody owns.
    pub(crate) fn new(value: T) -> Self {
        Self {
            busy: AtomicU32::new(0),
            revoked: AtomicU32::new(0),
            fences: Fences::detect(),
            others: Mutex::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Makes the caller the owner; `None` if there is one already.
    pub(crate) fn adopt(&self) -> Option<Owner> {
        let mut owned = self.turn();
        let free = !std::mem::replace(&mut *owned, true);
        free.then(|| Owner { lock: self.address() })
    }

    /// Ends the ownership. `owner` is this lock's right; another's ends nothing.
    pub(crate) fn leave(&self, owner: Owner) {
        debug_assert_eq!(owner.lock, self.address());
        if owner.lock == self.address() {
            *self.take().owned = false;
        }
    }

    /// Enters as the owner, or `None` while another thread has the value or wants it, and with the
    /// right to another lock. The right is borrowed until the owner leaves, so it enters once.
    #[inline(always)]
    pub(crate) fn enter<'a>(&'a self, owner: &'a mut Owner) -> Option<Inside<'a, T>> {
        if owner.lock != self.address() {
            return None;
        }
        // SAFETY: the right to this lock is borrowed by the one who enters, and there is no other.
        unsafe { self.enter_as_owner() }
    }

    /// As [`Biased::enter`], for a thread that knows without looking that it is the owner.
    ///
    /// # Safety
    /// The calling thread has adopted the lock, nobody has ended that, and it is not inside.
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

    /// Takes the value from any thread, the owner's too (while it is not inside). Waits for the
    /// owner to leave, and for other takers.
    pub(crate) fn take(&self) -> Taken<'_, T> {
        let owned = self.turn();
        if *owned {
            self.revoked.store(1, Ordering::Relaxed);
            self.fences.heavy();
            while self.busy.load(Ordering::Acquire) != 0 {
                pause();
            }
        }
        Taken { lock: self, owned }
    }

    /// As [`Biased::take`], without waiting: `None` if another thread has the value or one owns it.
    pub(crate) fn try_take(&self) -> Option<Taken<'_, T>> {
        let owned = self.try_turn()?;
        (!*owned).then_some(Taken { lock: self, owned })
    }

    fn address(&self) -> NonZeroUsize {
        NonNull::from(self).addr()
    }

    fn try_turn(&self) -> Option<MutexGuard<'_, bool>> {
        #[cfg(not(loom))]
        return super::try_lock(&self.others);
        #[cfg(loom)]
        return self.others.try_lock().ok();
    }

    fn turn(&self) -> MutexGuard<'_, bool> {
        #[cfg(not(loom))]
        return super::lock(&self.others);
        #[cfg(loom)]
        return self.others.lock().expect("models do not panic inside");
    }
}

impl<T> fmt::Debug for Biased<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Biased").field("fences", &self.fences).finish_non_exhaustive()
    }
}

/// The owner is inside.
pub(crate) struct Inside<'a, T> {
    lock: &'a Biased<T>,
}

/// Somebody who need not be the owner has the value.
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
        self.lock.revoked.store(0, Ordering::Release);
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
        // SAFETY: the owner has left and stands back, and the mutex keeps other takers out.
        unsafe { self.lock.value.get_ref() }
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above; the guard is borrowed mutably, so this is the only reference.
        unsafe { self.lock.value.get_mut_unchecked() }
    }
}

#[cfg(not(loom))]
fn pause() {
    // The owner's stay is some tens of instructions: waiting longer means it lost its core.
    std::thread::yield_now();
}

#[cfg(loom)]
fn pause() {
    loom::thread::yield_now();
}

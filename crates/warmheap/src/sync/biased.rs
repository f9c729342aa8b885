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
use std::ops::{Deref, DerefMut};

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

/// A thread's right to enter what it owns.
#[derive(Debug)]
pub(crate) struct Owner {
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Owner {
    /// # Safety
    /// Every lock this is used with has been adopted by the calling thread and not been left since.
    pub(crate) unsafe fn new() -> Self {
        Self { _not_send: std::marker::PhantomData }
    }
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

    /// Makes the calling thread the owner; `false` if there is one already.
    pub(crate) fn adopt(&self) -> bool {
        let mut owned = self.turn();
        !std::mem::replace(&mut *owned, true)
    }

    /// Enters as the owner, or `None` while another thread has the value or wants it. The owner
    /// must not be inside already.
    #[inline(always)]
    pub(crate) fn enter(&self, _owner: &Owner) -> Option<Inside<'_, T>> {
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

impl<T> Taken<'_, T> {
    /// Ends the ownership, if there is one: its thread must not enter again.
    pub(crate) fn disown(&mut self) {
        *self.owned = false;
    }
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

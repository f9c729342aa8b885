//! A mutex for code that calls foreign code. If a thread comes back to the mutex while it holds it, the call
//! fails. The thread would otherwise wait for itself for ever.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::{Mutex, MutexGuard, lock, try_lock};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct CheckedMutex {
    mutex: Mutex<()>,
    /// The mark of the thread that holds the mutex, or 0.
    holder: AtomicUsize,
}

/// A guard of the calling thread, which holds the mutex.
#[derive(Debug)]
pub(crate) struct Holding<'a> {
    holder: &'a AtomicUsize,
    _guard: MutexGuard<'a, ()>,
}

impl CheckedMutex {
    /// Waits for the mutex. Returns `None` if the calling thread holds it.
    pub(crate) fn lock(&self) -> Option<Holding<'_>> {
        (!self.is_held_here()).then(|| self.hold(lock(&self.mutex)))
    }

    /// Locks the mutex without waiting. Returns `None` if any thread holds it.
    pub(crate) fn try_lock(&self) -> Option<Holding<'_>> {
        try_lock(&self.mutex).map(|guard| self.hold(guard))
    }

    /// Whether the calling thread holds the mutex.
    pub(crate) fn is_held_here(&self) -> bool {
        // A thread sees its own mark or another's, and only its own matters.
        self.holder.load(Relaxed) == mark()
    }

    fn hold<'a>(&'a self, guard: MutexGuard<'a, ()>) -> Holding<'a> {
        self.holder.store(mark(), Relaxed);
        Holding { holder: &self.holder, _guard: guard }
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.holder.store(0, Relaxed);
    }
}

/// Returns a number that no other living thread has. A thread can call this at its very end, too.
#[cfg(not(shuttle))]
fn mark() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

#[cfg(shuttle)]
fn mark() -> usize {
    usize::from(shuttle::current::me()) + 1
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_holder_is_refused_and_others_wait() {
        let mutex = CheckedMutex::default();
        let held = mutex.lock().expect("no thread holds it");
        assert!(mutex.is_held_here() && mutex.lock().is_none() && mutex.try_lock().is_none());
        thread::scope(|scope| {
            assert!(scope.spawn(|| !mutex.is_held_here() && mutex.try_lock().is_none()).join().unwrap());
            let waits = scope.spawn(|| mutex.lock().is_some());
            drop(held);
            assert!(waits.join().unwrap());
        });
        assert!(!mutex.is_held_here() && mutex.try_lock().is_some());
    }
}

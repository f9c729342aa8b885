//! Keeps the tables of handles usable across a fork.
//!
//! A child must not wait for a lock that another thread held when the process forked. The thread that forks
//! therefore locks all tables before, and unlocks them in both processes. The child finds its handles whole,
//! and the library refuses to use what they name.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{log, tables};

/// The locks of all tables, and of the log's receiver.
type Locks = Box<dyn std::any::Any>;

thread_local! {
    /// The locked tables, while this thread forks.
    static HELD: RefCell<Option<Locks>> = const { RefCell::new(None) };
}

unsafe extern "C" fn hold() {
    // No other thread holds one table while it waits for another.
    let tables = (tables::pools_locked(), tables::queues_locked(), tables::buffers_locked());
    let locks: Locks = Box::new((tables, log::locked()));
    // A thread that is ending cannot keep the tables, and forks without their locks.
    let _ = HELD.try_with(|held| held.replace(Some(locks)));
}

unsafe extern "C" fn let_go() {
    let _ = HELD.try_with(RefCell::take);
}

/// Installs the handlers of forks. The caller does this before it makes the first handle. Only one thread
/// installs them, because a second pair of handlers would wait for the tables that the first pair locked.
pub(crate) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Ordering::AcqRel) {
        // SAFETY: these are functions of this library. The system forgets them if it unloads the library.
        let done = unsafe { libc::pthread_atfork(Some(hold), Some(let_go), Some(let_go)) };
        WATCHED.store(done == 0, Ordering::Release);
    }
}

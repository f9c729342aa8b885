//! The tables of handles across a fork.
//!
//! A child must not wait for a lock that another thread held when the process forked. So the thread that forks
//! takes all tables before, and lets go of them in both processes. The child finds its handles whole, and the
//! library refuses what they name.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::handles::{self, Tables};

thread_local! {
    /// The tables, while this thread forks.
    static HELD: RefCell<Option<Tables>> = const { RefCell::new(None) };
}

unsafe extern "C" fn hold() {
    let tables = handles::all();
    // A thread on its way out has nowhere to keep them, and forks without.
    let _ = HELD.try_with(|held| held.replace(Some(tables)));
}

unsafe extern "C" fn let_go() {
    let _ = HELD.try_with(RefCell::take);
}

/// Sees to forks from now on; called before the first handle is made. One thread alone does it: a second pair of
/// handlers would wait for the tables that the first one took.
pub(crate) fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Ordering::AcqRel) {
        // SAFETY: functions of this library, which the system forgets if it unloads the library.
        let done = unsafe { libc::pthread_atfork(Some(hold), Some(let_go), Some(let_go)) };
        WATCHED.store(done == 0, Ordering::Release);
    }
}

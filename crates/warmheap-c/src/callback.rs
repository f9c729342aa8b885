//! Functions of the program that the library calls, and how they end.
//!
//! The module owns one rule for all of them. A call that ends such a function waits until no other thread is
//! in it, so that its data may be destroyed. Within any of these functions the call does not wait: it would
//! wait for itself, or for a thread that waits for it.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

thread_local! {
    /// How many functions of the program this thread is in. It has no destructor, so it is there to the end.
    static INSIDE: Cell<u64> = const { Cell::new(0) };
}

/// Calls a function of the program, which neither throws nor panics.
pub(crate) fn enter(function: impl FnOnce()) {
    INSIDE.set(INSIDE.get() + 1);
    function();
    INSIDE.set(INSIDE.get() - 1);
}

/// Sleeps for a moment, for a call that waits for other threads. Returns false at once within a function of
/// the program, where no call may wait for them.
pub(crate) fn pause() -> bool {
    let may_wait = INSIDE.get() == 0;
    if may_wait {
        thread::sleep(Duration::from_micros(100));
    }
    may_wait
}

/// What the program gave for a function of its own. Each call of the function keeps it.
pub(crate) struct UserData {
    pub(crate) user: *mut c_void,
    /// The program's function for the end of the data.
    pub(crate) release: Option<unsafe extern "C" fn(*mut c_void)>,
}

// SAFETY: the program promises functions that any thread may call with the data.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

impl UserData {
    /// Ends the function: no call of it begins any more, and none runs on another thread. Within a function of
    /// the program the last call to return ends it.
    pub(crate) fn end(mut self: Arc<Self>) {
        while let Err(called) = Arc::try_unwrap(self) {
            if !pause() {
                return;
            }
            self = called;
        }
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the program promised so, and the library makes this call once.
            unsafe { release(self.user) };
        }
    }
}

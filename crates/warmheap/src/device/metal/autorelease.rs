//! An autorelease pool around a call, on any thread at any time.
//!
//! This module owns nothing. The autorelease pool of the bindings uses a thread-local variable and panics
//! while a thread ends. But destructors of thread caches may free memory as late as that.
#![allow(unsafe_code)]

use std::ffi::c_void;

use objc2::ffi::{objc_autoreleasePoolPop, objc_autoreleasePoolPush};

/// Runs `f` and releases the objects that it autoreleased.
pub(super) fn pooled<R>(f: impl FnOnce() -> R) -> R {
    struct Open(*mut c_void);
    impl Drop for Open {
        fn drop(&mut self) {
            // SAFETY: the pool was opened below on this thread. Pools inside it are closed, because nested
            // calls of this function opened them.
            unsafe { objc_autoreleasePoolPop(self.0) };
        }
    }
    // SAFETY: the guard closes the pool on this thread. `f` returns no autoreleased object, because the
    // bindings hand out retained objects.
    let _open = Open(unsafe { objc_autoreleasePoolPush() });
    f()
}

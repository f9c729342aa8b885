//! An autorelease pool around a call, on any thread at any time.
//!
//! Owns nothing. The bindings' own pool checks itself by a thread-local variable and panics once the
//! thread is ending; memory may be freed that late, by the destructors of thread-local caches.
#![allow(unsafe_code)]

use std::ffi::c_void;

use objc2::ffi::{objc_autoreleasePoolPop, objc_autoreleasePoolPush};

/// Runs `f` and releases what it autoreleased.
pub(super) fn pooled<R>(f: impl FnOnce() -> R) -> R {
    struct Open(*mut c_void);
    impl Drop for Open {
        fn drop(&mut self) {
            // SAFETY: opened below on this thread; pools inside it are closed, for they are made by
            // nested calls of this function.
            unsafe { objc_autoreleasePoolPop(self.0) };
        }
    }
    // SAFETY: closed by the guard on this thread. Nothing that `f` returns is autoreleased: the
    // bindings hand out retained objects.
    let _open = Open(unsafe { objc_autoreleasePoolPush() });
    f()
}

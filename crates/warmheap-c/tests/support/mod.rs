//! Runs a part of a test in a child of its process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `body` in a child by `fork`. The child must end well within ten seconds.
pub(crate) fn in_child(body: impl FnOnce()) {
    // SAFETY: the child makes only calls that are allowed after a fork, and then exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = catch_unwind(AssertUnwindSafe(body));
        // SAFETY: this ends the process.
        unsafe { libc::exit(i32::from(done.is_err())) }
    }
    let (begun, mut status) = (Instant::now(), 0);
    // SAFETY: this waits for our own child, and writes to a local variable.
    while unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == 0 {
        if begun.elapsed() > Duration::from_secs(10) {
            // SAFETY: this ends our own child.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child hangs");
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(status, 0, "how the child ended");
}

//! Runs programs that must end under a clock, so that a hang fails the test and does not stop the run.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Far longer than any program takes, on a busy machine and under sanitizers too.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a program on a thread of its own and passes its panic on.
///
/// # Panics
/// If the program does not end. Its threads are left behind.
#[track_caller]
pub(crate) fn within_patience<R: Send + 'static>(
    name: &str,
    program: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (ends, ended) = channel();
    let thread = thread::spawn(move || {
        let result = program();
        // The receiver is gone if the program took too long.
        let _ = ends.send(());
        result
    });
    if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        panic!("{name} hangs");
    }
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

//! Runs what may wait without the interpreter's lock, and lets signals end it.
//!
//! Everything that may wait for a device, for a lock that is held across a device's call, for a queue, a
//! thread or a file goes through this module. That includes the end of any handle of a pool, because it may
//! be the last, which closes the pool. Locks that are held for moments are taken directly.
//!
//! A signal's handler runs on the main thread, which therefore looks for signals while it waits. There are two
//! ways. A wait for a queue looks in between ([`look_for_signals`]). Other work that may take long runs on a
//! thread of its own ([`wait_apart`]), which goes on alone if a handler raises.

use std::cell::{Cell, RefCell};
use std::mem;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

use super::errors::Class;
use super::fork::Origin;
use super::log;

/// The time between two looks for signals.
pub(crate) const PATIENCE: Duration = Duration::from_millis(20);

thread_local! {
    /// Whether the thread is in a call that an exception may end.
    static MAY_RAISE: Cell<bool> = const { Cell::new(false) };
    /// The exception that ends the present call.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Runs what may wait while other threads run, and then delivers the log.
///
/// # Errors
/// Returns what a signal's handler has raised meanwhile.
pub(crate) fn wait<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> PyResult<R> {
    let outer = MAY_RAISE.replace(true);
    let done = py.detach(work);
    MAY_RAISE.set(outer);
    let raised = RAISED.take();
    if let Some(error) = raised {
        // The result may be a buffer, whose end may wait.
        py.detach(|| drop(done));
        return Err(error);
    }
    log::deliver(py);
    Ok(done)
}

/// Runs the handlers of signals, in a wait of the library. Returns whether the wait is to end, because one of
/// them has raised.
pub(crate) fn look_for_signals() -> bool {
    if !MAY_RAISE.get() {
        return false;
    }
    if !is_interrupted()
        && let Some(Err(error)) = Python::try_attach(|py| py.check_signals())
    {
        RAISED.set(Some(error));
    }
    is_interrupted()
}

/// Whether a handler has raised in this call.
pub(crate) fn is_interrupted() -> bool {
    RAISED.with_borrow(Option::is_some)
}

/// Runs work that may take long on a thread of its own.
///
/// # Errors
/// Returns what a signal's handler has raised meanwhile. The work goes on then, and its result is dropped.
pub(crate) fn wait_apart<R: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> R + Send + 'static,
) -> PyResult<R> {
    let (sender, mut receiver) = channel();
    let work = Arc::new(Mutex::new(Some(work)));
    let take = |work: &Mutex<Option<_>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let apart = Arc::clone(&work);
    let started = thread::Builder::new().name("warmheap-call".into()).spawn(move || {
        if let Some(work) = take(&apart) {
            // Without a receiver the result is dropped here.
            let _ = sender.send(work());
        }
    });
    let Ok(worker) = started else {
        // There may be no further thread. A wait that signals do not end is better than none.
        let work = take(&work).ok_or_else(no_result)?;
        return wait(py, work);
    };
    loop {
        let receiver = &mut receiver;
        match py.detach(move || receiver.recv_timeout(PATIENCE)) {
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            ended => {
                // A thread that is about to end would make a fork warn of threads.
                let joined = py.detach(|| worker.join());
                log::deliver(py);
                return match (ended, joined) {
                    (Ok(done), _) => Ok(done),
                    // The work has panicked. This goes on as the panic of any other call.
                    (Err(_), Err(panic)) => resume_unwind(panic),
                    (Err(_), Ok(())) => Err(no_result()),
                };
            }
        }
    }
}

/// Runs work that may take long as [`wait_apart`] does. The flag that it gets is set once the wait has ended,
/// so that the work does not go on for long alone.
pub(crate) fn wait_until_stopped<R: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&AtomicBool) -> R + Send + 'static,
) -> PyResult<R> {
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    let done = wait_apart(py, move || work(&stop));
    stopped.store(true, Relaxed);
    done
}

#[cold]
fn no_result() -> PyErr {
    Class::Other.error("the call ended without a result")
}

/// Drops a value that may wait while other threads run. The end of an object calls this. An exception may be
/// on its way, so no Python code runs, and the library's log is delivered later. In a child of a fork the
/// value belongs to the parent, whose locks may be held for ever here, so it is not dropped.
pub(crate) fn let_go<T: Send>(origin: Origin, thing: T) {
    if !origin.is_here() {
        return mem::forget(thing);
    }
    let mut thing = Some(thing);
    let outer = MAY_RAISE.replace(false);
    // At the interpreter's end there is no lock to give up.
    Python::try_attach(|py| py.detach(|| drop(thing.take())));
    MAY_RAISE.set(outer);
}

//! The end of a pool: its last handle closes it.
//!
//! The module owns the order of the end. It never frees memory that a buffer or work in flight still uses.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::pool::background::thread::BackgroundThread;
use crate::pool::core::{Core, closing, notes, queues};
use crate::pool::interface::leak_report::LeakReport;
use crate::sync::lock;

/// The last handle closes the pool.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Core>,
    pub(crate) maintainer: Option<BackgroundThread>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.shared.process.is_current() {
            // The thread is the parent's. So is the rest, down to locks that no thread of this process will
            // open.
            std::mem::forget((self.maintainer.take(), Arc::clone(&self.shared)));
            return;
        }
        // The thread ends first, so that no other thread works on the pool when it ends.
        self.maintainer = None;
        // Callbacks are dropped before the report, because they may hold buffers. The pool closes even if
        // dropping one panics.
        let callbacks = self.shared.callbacks.end();
        let ended = catch_unwind(AssertUnwindSafe(|| drop(callbacks)));
        let report = close(&self.shared);
        if let Err(panic) = ended {
            resume_unwind(panic);
        }
        notes::speak(&self.shared);
        if report.is_clean() {
            tracing::info!(acquired = report.acquired, "memory pool closed, no buffer leaked");
        } else {
            tracing::error!("Memory leak detected! {report}");
        }
    }
}

/// Ends the pool. Waits for work in flight of queues without a handle, for a limited time. Empties the
/// caches, which take nothing from now on. Returns the report of what is still out. If anything is, the
/// memory stays until the last buffer is back.
pub(crate) fn close(core: &Core) -> LeakReport {
    queues::poll_queues(core);
    queues::wait_for_left(core);
    {
        let mut locals = lock(&core.locals);
        core.closed.store(true, Ordering::SeqCst);
        for local in locals.drain(..) {
            core.absorb(&local);
        }
    }
    *lock(&core.closing) = core.me.upgrade();
    queues::close_left(core);
    let report = closing::leaks(core);
    // The report gives caches up, so the pool can only now be found empty.
    closing::drop_if_empty(core);
    report
}

//! The pool's end: its last handle closes it.
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
            // The thread is the parent's, and so is the rest, down to locks that nobody will open.
            std::mem::forget((self.maintainer.take(), Arc::clone(&self.shared)));
            return;
        }
        // First, so that no other thread is at work on the pool when it ends.
        self.maintainer = None;
        // Before the report, as callbacks may hold buffers. The pool closes even if one's end panics.
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

/// Ends the pool: work in flight of queues that are gone is waited for, caches are emptied and refuse
/// from now on, what is still out is reported, and if anything is, the memory stays until the last
/// of it is back.
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
    closing::drop_if_empty(core);
    closing::leaks(core)
}

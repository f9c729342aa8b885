//! The pool's own thread, if the settings ask for one: gives idle memory back, and compacts fragmented heaps.
//!
//! The module owns that thread and its clock. What the thread runs are samples of `decay` and steps of
//! `compact`. It never keeps a pool alive, and holds nothing while it sleeps. It ends with its pool: closing
//! wakes it and waits for its present step.
#![forbid(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::config::PoolConfig;
use crate::device::DeviceError;
use crate::pool::accounting::foreign;
use crate::pool::accounting::rate_limit::RateLimit;
use crate::pool::background::decay;
use crate::pool::core::{Core, notes};
use crate::pool::path::compact;

/// How long to sleep if nothing is due.
const FOR_LONG: Duration = Duration::from_secs(86_400);

/// See the module's documentation. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct BackgroundThread {
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
}

/// What the settings ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Samples for idle memory.
    pub(crate) looks: bool,
    /// Steps of compaction.
    pub(crate) steps: bool,
}

/// Tells the thread to end.
#[derive(Debug, Default)]
struct End {
    reached: Mutex<bool>,
    changed: Condvar,
}

impl BackgroundThread {
    pub(crate) fn start(pool: Weak<Core>, wanted: Wanted) -> io::Result<Self> {
        let end = Arc::new(End::default());
        let ended = Arc::clone(&end);
        let thread = thread::Builder::new()
            .name("warmheap-maintain".into())
            .spawn(move || maintain(&pool, wanted, &ended))?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for BackgroundThread {
    fn drop(&mut self) {
        *self.end.lock() = true;
        self.end.changed.notify_all();
        // The thread itself may drop the last handle, if something that it frees holds one.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            // The thread returns nothing but that it ended.
            let _ = thread.join();
        }
    }
}

fn maintain(pool: &Weak<Core>, wanted: Wanted, end: &End) {
    let failures = RateLimit::default();
    let mut look = wanted.looks.then(Instant::now);
    let mut step = wanted.steps.then(Instant::now);
    loop {
        let next = look.into_iter().chain(step).min();
        if end.is_reached_within(next.map_or(FOR_LONG, |next| next.saturating_duration_since(Instant::now())))
        {
            return;
        }
        let Some(pool) = pool.upgrade() else { return };
        let PoolConfig { trim_after, compaction, .. } = &pool.config;
        settle(&pool, &mut look, || decay::tick(&pool, *trim_after), *trim_after, &failures);
        settle(&pool, &mut step, || compact::compact_a_little(&pool), compaction.interval, &failures);
    }
}

/// Runs `work` if it is due, and notes when it is due again: after the time that `work` returns, or after
/// `otherwise` if it fails. The program is told of a failure, and the thread outlives a panic of the
/// program's code.
fn settle(
    pool: &Core,
    due: &mut Option<Instant>,
    work: impl FnOnce() -> Result<Duration, DeviceError>,
    otherwise: Duration,
    failures: &RateLimit,
) {
    if due.is_none_or(|due| due > Instant::now()) {
        return;
    }
    let done = foreign::call("a subscriber or callback", || {
        let done = work();
        notes::speak(pool);
        done
    });
    let pause = done.unwrap_or_else(|error| {
        if failures.begins() {
            let _ = foreign::call("a subscriber", || {
                tracing::warn!(%error, "the device did not let the pool keep its memory in order");
                Ok(())
            });
        }
        otherwise
    });
    *due = Some(Instant::now() + pause);
}

impl End {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for `time`, or less if the pool ends. Returns whether it ends.
    fn is_reached_within(&self, time: Duration) -> bool {
        let sleep = self.changed.wait_timeout_while(self.lock(), time, |reached| !*reached);
        *sleep.unwrap_or_else(PoisonError::into_inner).0
    }
}

//! A queue of copies, which run one after the other on a thread of their own.
//!
//! The thread and the order are a [`WorkerQueue`]'s. This module bounds how many copies are pending, keeps the
//! errors of those that failed, and counts. A pending copy keeps its queue, so the end of the program's handle
//! waits for nothing and loses nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use warmheap::device::{DeviceError, Queue, WorkerQueue};

use crate::interpreter::interruptible::Interruptible;

/// The most errors that are kept for waits. The oldest go first.
const MOST_FAILURES: usize = 1024;

/// The queues of this program, for its end.
static LIVE: Mutex<Vec<Weak<TransferQueue>>> = Mutex::new(Vec::new());

/// The direction of a copy, seen from the CPU.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    Upload,
    Download,
}

/// A copy to be made.
pub(crate) trait Transfer: Send + 'static {
    /// Returns the bytes to copy.
    fn size(&self) -> u64;

    /// Makes the copy.
    fn run(&mut self) -> Result<(), DeviceError>;

    /// Ends the operation, which completes when this returns. `made` is whether the copy succeeded.
    fn end(self, made: bool);
}

/// Why a call did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no such operation; the last has this number.
    Unknown { operation: u64, last: u64 },
    /// The queue's own thread would wait for itself.
    OwnThread,
    /// The program ends.
    Ended,
    /// The operation, or the queue, failed.
    Device(DeviceError),
}

impl From<DeviceError> for Refusal {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

/// A queue of copies.
#[derive(Debug)]
pub(crate) struct TransferQueue {
    worker: Arc<WorkerQueue>,
    /// The worker's thread, once it has begun its first copy.
    thread: OnceLock<ThreadId>,
    limit: u64,
    counts: bool,
    logs: bool,
    /// The lock is held for moments. No Python code runs meanwhile.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    submitted: u64,
    ended: bool,
    /// The errors that no wait has returned yet.
    failed: BTreeMap<u64, DeviceError>,
    figures: Figures,
}

/// What a queue counts.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) uploads: u64,
    pub(crate) downloads: u64,
    /// The time that copies took.
    pub(crate) upload_time: Duration,
    pub(crate) download_time: Duration,
    /// The calls that had to wait for copies, and their time.
    pub(crate) waits: u64,
    pub(crate) waited: Duration,
}

impl TransferQueue {
    /// Starts a queue of at most `limit` pending copies. The caller has the interpreter's lock; see [`live`].
    ///
    /// # Errors
    /// Returns [`DeviceError::Failed`] if the system cannot start a thread.
    pub(crate) fn start(limit: u64, counts: bool, logs: bool) -> Result<Arc<Self>, DeviceError> {
        let queue = Arc::new(Self {
            worker: Arc::new(WorkerQueue::start()?),
            thread: OnceLock::new(),
            limit,
            counts,
            logs,
            state: Mutex::default(),
        });
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|queue| queue.strong_count() > 0);
        live.push(Arc::downgrade(&queue));
        Ok(queue)
    }

    /// Submits a copy to the queue's thread, and waits first if too many are pending. Returns its number.
    pub(crate) fn submit(
        self: &Arc<Self>,
        direction: Direction,
        transfer: impl Transfer,
    ) -> Result<u64, Refusal> {
        loop {
            let room = {
                let mut state = self.state();
                if state.ended {
                    return Err(Refusal::Ended);
                }
                // Each submission completes as the next value.
                if state.submitted - self.worker.completed()? < self.limit {
                    state.submitted += 1;
                    let (queue, operation) = (Arc::clone(self), state.submitted);
                    if self.logs {
                        tracing::debug!(
                            operation,
                            bytes = transfer.size(),
                            ?direction,
                            "a copy is submitted"
                        );
                    }
                    return Ok(self.worker.submit(move || queue.run(operation, direction, transfer)));
                }
                state.submitted + 1 - self.limit
            };
            self.wait_until(room, None)?;
        }
    }

    fn run(&self, operation: u64, direction: Direction, mut transfer: impl Transfer) {
        self.thread.get_or_init(|| thread::current().id());
        let begun = Instant::now();
        let failed = transfer.run().err();
        let took = begun.elapsed();
        if let Some(error) = &failed {
            tracing::error!(operation, %error, "a copy failed");
        } else if self.logs {
            tracing::debug!(operation, us = took.as_micros() as u64, "a copy has ended");
        }
        {
            let mut state = self.state();
            match (&failed, direction) {
                (Some(error), _) => {
                    state.failed.insert(operation, error.clone());
                    if state.failed.len() > MOST_FAILURES {
                        state.failed.pop_first();
                    }
                }
                (None, _) if !self.counts => {}
                (None, Direction::Upload) => {
                    state.figures.uploads += 1;
                    state.figures.upload_time += took;
                }
                (None, Direction::Download) => {
                    state.figures.downloads += 1;
                    state.figures.download_time += took;
                }
            }
        }
        transfer.end(failed.is_none());
    }

    /// Returns whether an operation has completed within `timeout`.
    ///
    /// # Errors
    /// Returns the operation's error, once.
    pub(crate) fn wait(&self, operation: u64, timeout: Option<Duration>) -> Result<bool, Refusal> {
        self.check(operation)?;
        let done = self.wait_until(operation, timeout)?;
        // An operation may fail just after the wait for it has ended.
        match if done { self.state().failed.remove(&operation) } else { None } {
            Some(error) => Err(Refusal::Device(error)),
            None => Ok(done),
        }
    }

    /// Waits for all that was submitted before.
    ///
    /// # Errors
    /// Returns the first error that no wait has returned yet.
    pub(crate) fn wait_for_all(&self) -> Result<(), Refusal> {
        let last = self.state().submitted;
        self.wait_until(last, None)?;
        match self.state().failed.pop_first() {
            Some((_, error)) => Err(Refusal::Device(error)),
            None => Ok(()),
        }
    }

    /// Whether an operation has completed.
    pub(crate) fn is_complete(&self, operation: u64) -> Result<bool, Refusal> {
        self.check(operation)?;
        Ok(self.worker.completed()? >= operation)
    }

    /// Takes no more copies, and waits for those that are pending. Afterwards the thread runs no Python code.
    pub(crate) fn end(&self) -> Result<(), Refusal> {
        let last = {
            let mut state = self.state();
            state.ended = true;
            state.submitted
        };
        self.wait_until(last, None).map(drop)
    }

    pub(crate) fn figures(&self) -> Figures {
        self.state().figures
    }

    pub(crate) fn reset(&self) {
        self.state().figures = Figures::default();
    }

    /// The operations that have not completed.
    pub(crate) fn pending(&self) -> u64 {
        let submitted = self.state().submitted;
        submitted.saturating_sub(self.worker.completed().unwrap_or(submitted))
    }

    fn check(&self, operation: u64) -> Result<(), Refusal> {
        let last = self.state().submitted;
        if (1..=last).contains(&operation) { Ok(()) } else { Err(Refusal::Unknown { operation, last }) }
    }

    /// Waits until the queue has completed `value`, and counts the wait.
    fn wait_until(&self, value: u64, timeout: Option<Duration>) -> Result<bool, Refusal> {
        if self.worker.completed()? >= value {
            return Ok(true);
        }
        if self.thread.get() == Some(&thread::current().id()) {
            return Err(Refusal::OwnThread);
        }
        let begun = Instant::now();
        let done = Interruptible(Arc::clone(&self.worker)).wait(value, timeout.unwrap_or(Duration::MAX));
        if self.counts {
            let mut state = self.state();
            state.figures.waits += 1;
            state.figures.waited += begun.elapsed();
        }
        Ok(done?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the queues of this process. The caller has the interpreter's lock, so no fork meets the list locked.
pub(crate) fn live() -> Vec<Arc<TransferQueue>> {
    let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    // A queue that the child of a fork has inherited completes nothing there.
    live.iter().filter_map(Weak::upgrade).filter(|queue| queue.worker.completed().is_ok()).collect()
}

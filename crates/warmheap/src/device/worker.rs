//! A queue that runs work on one thread, in order of submission.
//!
//! This queue is to the memory of this process what a stream is to a GPU's memory. It can be made to lag,
//! stall and die, as GPUs do. It owns the thread and the work. Its counter is a [`SimQueue`]. It never looks
//! into the work. It becomes lost only when no work can touch memory any more, so a pool can take back what a
//! lost queue held.
#![forbid(unsafe_code)]

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::sim::SimQueue;
use super::{DeviceError, Queue};
use crate::fork::Process;

/// A queue whose work runs in order, on a thread of its own.
///
/// Work is any closure. A closure that panics loses the queue, as a kernel that faults loses a GPU's queue.
/// Dropping the queue waits for the work that runs and drops the work that has not begun. The child of a fork
/// has no such thread, so the queue completes nothing there.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use warmheap::device::{Queue, WorkerQueue, host::HostDevice};
/// use warmheap::{Pool, PoolConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic())?;
/// let worker = Arc::new(WorkerQueue::start()?);
/// let queue = pool.queue(worker.clone());
///
/// let scratch = pool.allocate(1 << 20)?;
/// let address = scratch.device_address();
/// let value = worker.submit(move || println!("working at {address:#x}"));
/// scratch.retire(&queue.ticket(value)); // not reused before the line is printed
/// assert!(worker.wait(value, Duration::from_secs(60))?);
/// # Ok(())
/// # }
/// ```
pub struct WorkerQueue {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    process: Process,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    counter: SimQueue,
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Default)]
struct Orders {
    waiting: VecDeque<(u64, Work)>,
    /// Whether work has begun and not ended.
    running: bool,
    held: bool,
    pace: Duration,
    lost: Option<String>,
    ended: bool,
}

impl WorkerQueue {
    /// Starts the thread.
    ///
    /// # Errors
    /// Returns [`DeviceError::Failed`] if the system cannot start a thread.
    pub fn start() -> Result<Self, DeviceError> {
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new().name("warmheap queue".into()).spawn(move || worker.work());
        let failed = |error: std::io::Error| DeviceError::Failed { call: "spawn", reason: error.to_string() };
        Ok(Self { shared, thread: Some(thread.map_err(failed)?), process: Process::current() })
    }

    /// Submits work and returns the value with which it completes. A lost queue drops the work.
    pub fn submit(&self, work: impl FnOnce() + Send + 'static) -> u64 {
        let mut orders = self.shared.orders();
        let value = self.shared.counter.submit();
        if orders.lost.is_none() {
            orders.waiting.push_back((value, Box::new(work)));
            self.shared.changed.notify_all();
        }
        value
    }

    /// Makes each piece of work take at least this much longer from now on.
    pub fn slow(&self, by: Duration) {
        self.shared.orders().pace = by;
    }

    /// Begins no more work until [`WorkerQueue::resume`]. Work that runs goes on.
    pub fn hold(&self) {
        self.shared.orders().held = true;
    }

    /// Begins work again after [`WorkerQueue::hold`].
    pub fn resume(&self) {
        self.shared.orders().held = false;
        self.shared.changed.notify_all();
    }

    /// Loses the queue, which makes no more progress. Work that has not begun is dropped. Once the work that
    /// runs has ended, every caller gets [`DeviceError::Lost`].
    pub fn lose(&self, reason: &str) {
        self.shared.lose(reason);
    }
}

impl Queue for WorkerQueue {
    fn completed(&self) -> Result<u64, DeviceError> {
        self.process.check()?;
        self.shared.counter.completed()
    }

    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        self.process.check()?;
        self.shared.counter.wait(value, timeout)
    }
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the thread until the queue ends or is lost.
    fn work(&self) {
        loop {
            let idle = |orders: &mut Orders| {
                !orders.ended && orders.lost.is_none() && (orders.held || orders.waiting.is_empty())
            };
            let waited = self.changed.wait_while(self.orders(), idle);
            let mut orders = waited.unwrap_or_else(PoisonError::into_inner);
            if orders.ended || orders.lost.is_some() {
                return;
            }
            let Some((value, work)) = orders.waiting.pop_front() else { continue };
            orders.running = true;
            let pace = orders.pace;
            drop(orders);
            // No lock is held, because work may submit, free and retire.
            let done = catch_unwind(AssertUnwindSafe(work));
            thread::sleep(pace);
            if let Err(panic) = &done {
                self.lose(&format!("work panicked: {}", words(&**panic)));
            }
            let mut orders = self.orders();
            orders.running = false;
            match &orders.lost {
                Some(reason) => self.counter.lose(reason),
                None => self.counter.complete(value),
            }
        }
    }

    fn lose(&self, reason: &str) {
        let dropped = {
            let mut orders = self.orders();
            let reason = orders.lost.get_or_insert_with(|| reason.into()).clone();
            if !orders.running {
                self.counter.lose(&reason);
            }
            self.changed.notify_all();
            std::mem::take(&mut orders.waiting)
        };
        // The objects that work owns may call this queue when they are dropped.
        drop(dropped);
    }
}

/// Returns the message of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

impl Drop for WorkerQueue {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // The thread is the parent's, and may hold the lock of the orders.
            return std::mem::forget(self.thread.take());
        }
        let forgotten = {
            let mut orders = self.shared.orders();
            orders.ended = true;
            self.shared.changed.notify_all();
            std::mem::take(&mut orders.waiting)
        };
        drop(forgotten);
        // Work may own the last handle. Then its thread drops the queue, and cannot wait for itself.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for WorkerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerQueue").field("counter", &self.shared.counter).finish_non_exhaustive()
    }
}

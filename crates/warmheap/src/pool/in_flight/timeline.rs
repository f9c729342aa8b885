//! What waits for a queue: one list, in the order of retiring, and one counter.
//!
//! Whatever is retired belongs to the list until the queue's counter has reached its value; then it
//! is dropped, which is what frees it. One read of the counter finds all that is ready at the front;
//! no event object is made per item. The lock is never held while an item is dropped or the queue
//! is asked or waited for, so completion handlers may retire and free.
//!
//! A list never waits by itself. When its last handle goes, what the queue is not done with yet is
//! handed on ([`Waiting::outlive`]).
//!
//! The list does not know what it holds. The pool keeps buffers in it; the model in `timeline/model`
//! keeps tokens, and tries every interleaving over this very code.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::device::{DeviceError, Queue};
use crate::fork::{Own, Process};
use crate::pool::accounting::foreign;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU64, Mutex, MutexGuard};

#[cfg(all(test, loom))]
mod model;

/// How far back a queue looks for a range that it has just retired.
const LOOK: usize = 16;

/// What can wait for a queue. Dropping it frees it.
pub(crate) trait Waiting: Sized {
    /// The list is gone, and the queue has not reached `value` yet.
    fn outlive(self, queue: &Arc<dyn Queue>, value: u64);
}

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct Timeline<T: Waiting> {
    process: Process,
    queue: Arc<dyn Queue>,
    retired: Own<Mutex<VecDeque<Retired<T>>>>,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Retired<T> {
    value: u64,
    bytes: u64,
    item: T,
}

/// The highest value that a queue has completed. A queue that panics is not lost.
pub(crate) fn completed(queue: &dyn Queue) -> Result<u64, DeviceError> {
    foreign::call("Queue::completed", || queue.completed())
}

impl<T: Waiting> Timeline<T> {
    pub(crate) fn new(queue: Arc<dyn Queue>) -> Self {
        Self {
            process: Process::current(),
            queue,
            retired: Own::new(Mutex::new(VecDeque::new())),
            bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    /// Whether this process has made the list; one that has inherited it leaves it alone.
    pub(crate) fn is_here(&self) -> bool {
        self.process.is_current()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Keeps an item until the counter has reached `value`.
    pub(crate) fn retire(&self, value: u64, bytes: u64, item: T) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.list().push_back(Retired { value, bytes, item });
    }

    /// Drops up to `most` items from the front whose work has completed, and says how many.
    pub(crate) fn poll(&self, most: usize) -> Result<usize, DeviceError> {
        self.process.check()?;
        let completed = completed(&*self.queue)?;
        let mut freed = 0;
        while freed < most {
            // The lock is let go before the item is: dropping may take any other lock.
            let ready = {
                let mut list = self.list();
                let ready = list.front().is_some_and(|retired| retired.value <= completed);
                if ready { list.pop_front() } else { None }
            };
            let Some(Retired { bytes, item, .. }) = ready else { break };
            // Counted until the item is gone, for those who wait for it; also if its drop panics.
            let _counted = Counted { all: &self.bytes, bytes };
            drop(item);
            freed += 1;
        }
        Ok(freed)
    }

    /// Waits for the work of the oldest item; `true` once that is done and all that was ready has
    /// been dropped, by whomever. `false` if time ran out first or nothing is retired.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<bool, DeviceError> {
        let Some(value) = self.first() else { return Ok(false) };
        let left = deadline.saturating_duration_since(Instant::now());
        let done = foreign::call("Queue::wait", || self.queue.wait(value, left))?;
        if done {
            self.poll(usize::MAX)?;
        }
        Ok(done)
    }

    /// Whether work up to `value` is known to be done.
    pub(crate) fn has_completed(&self, value: u64) -> bool {
        self.is_here() && completed(&*self.queue).is_ok_and(|completed| completed >= value)
    }

    /// Whether its queue is lost.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(completed(&*self.queue), Err(DeviceError::Lost { .. }))
    }

    /// How many items wait.
    pub(crate) fn len(&self) -> usize {
        self.list().len()
    }

    /// Takes the item retired last, of those that suit, before its work has completed: for use by
    /// the same queue, whose next work comes after it. Answers the value it waited for, too.
    pub(crate) fn take_back(&self, mut suits: impl FnMut(&mut T) -> bool) -> Option<(T, u64)> {
        let mut list = self.list();
        let from = list.len().saturating_sub(LOOK);
        let place = (from..list.len()).rev().find(|place| suits(&mut list[*place].item))?;
        let Retired { bytes, item, value } = list.remove(place)?;
        self.bytes.fetch_sub(bytes, Relaxed);
        Some((item, value))
    }

    fn first(&self) -> Option<u64> {
        self.list().front().map(|retired| retired.value)
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Retired<T>>> {
        // Nothing that can panic runs while the list is half-changed.
        self.retired.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T: Waiting> Drop for Timeline<T> {
    /// No thread can submit to or ask about the queue any more. What has completed is dropped, and so
    /// is what a lost queue held: a device that has given up no longer touches memory.
    fn drop(&mut self) {
        if !self.is_here() {
            // The queue's thread, if it has one, is the parent's.
            return std::mem::forget(Arc::clone(&self.queue));
        }
        let retired = std::mem::take(&mut *self.list());
        let completed = match completed(&*self.queue) {
            Ok(completed) => completed,
            Err(DeviceError::Lost { .. }) => u64::MAX,
            Err(_) => 0,
        };
        let (done, open): (Vec<_>, Vec<_>) =
            retired.into_iter().partition(|retired| retired.value <= completed);
        // First, so that no panic in the other's drops frees what is in use.
        open.into_iter().for_each(|Retired { item, value, .. }| item.outlive(&self.queue, value));
        drop(done);
    }
}

/// Bytes that are part of a sum. Dropped, they leave it.
struct Counted<'a> {
    all: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

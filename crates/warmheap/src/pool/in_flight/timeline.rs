//! The list of what is retired to one queue, in the order of retiring, with a count of its bytes.
//!
//! A retired item belongs to the list until the queue's counter has reached the item's value. The list then
//! drops the item, which frees it. One read of the counter finds all items at the front that are ready, so no
//! event object is made per item. The list must never hold its lock while it drops an item, or reads or waits
//! for the queue's counter. Completion handlers may therefore retire and free.
//!
//! A list never waits by itself. When its last handle goes, it hands on the items that the queue is not done
//! with ([`Waiting::outlive`]).
//!
//! The list does not know what it holds. The pool keeps buffers in it. The model in `timeline/model` keeps
//! tokens, and tries every interleaving over this very code.
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

/// The number of items, from the newest, that a queue searches for a span to reuse.
const LOOK: usize = 16;

/// An item that can wait for a queue. Dropping it frees it.
pub(crate) trait Waiting: Sized {
    /// Takes over the item when the list is gone before the queue has reached `value`.
    fn outlive(self, queue: &Arc<dyn Queue>, value: u64);
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Timeline<T: Waiting> {
    process: Process,
    /// A number that no other list of this process has. It guards nothing, so no model counts it.
    number: u64,
    queue: Arc<dyn Queue>,
    retired: Own<Mutex<VecDeque<Retired<T>>>>,
    bytes: AtomicU64,
    /// The highest value of a ticket. Nothing waits for a later one.
    named: AtomicU64,
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
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        Self {
            process: Process::current(),
            number: NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            queue,
            retired: Own::new(Mutex::new(VecDeque::new())),
            bytes: AtomicU64::new(0),
            named: AtomicU64::new(0),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
    }

    /// Whether this process made the list. A process that inherited the list leaves it alone.
    pub(crate) fn is_here(&self) -> bool {
        self.process.is_current()
    }

    /// The bytes that wait.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Notes that items may wait for `value`.
    pub(crate) fn name(&self, value: u64) {
        self.named.fetch_max(value, Relaxed);
    }

    /// The highest value that was named, if the queue has not completed it.
    pub(crate) fn unfinished(&self) -> Result<Option<u64>, DeviceError> {
        self.process.check()?;
        let (named, completed) = (self.named.load(Relaxed), completed(&*self.queue)?);
        Ok((named > completed).then_some(named))
    }

    /// Keeps an item until the counter has reached `value`.
    pub(crate) fn retire(&self, value: u64, bytes: u64, item: T) {
        self.bytes.fetch_add(bytes, Relaxed);
        self.list().push_back(Retired { value, bytes, item });
    }

    /// Drops up to `most` items from the front whose work has completed. Returns how many it dropped.
    pub(crate) fn poll(&self, most: usize) -> Result<usize, DeviceError> {
        self.process.check()?;
        let completed = completed(&*self.queue)?;
        let mut freed = 0;
        while freed < most {
            // The lock is released before the item is dropped, because dropping may take any other lock.
            let ready = {
                let mut list = self.list();
                let ready = list.front().is_some_and(|retired| retired.value <= completed);
                if ready { list.pop_front() } else { None }
            };
            let Some(Retired { bytes, item, .. }) = ready else { break };
            // The bytes count until the item is gone, because threads wait for them to go. They leave the
            // count even if the item's drop panics.
            let _counted = Counted { all: &self.bytes, bytes };
            drop(item);
            freed += 1;
        }
        Ok(freed)
    }

    /// Waits for the work of the oldest item. Returns `true` once that work is done and no ready item is left
    /// in the list. Another thread may still be dropping one that it took. Returns `false` if time ran out
    /// first or nothing is retired.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<bool, DeviceError> {
        let Some(value) = self.first() else { return Ok(false) };
        let left = deadline.saturating_duration_since(Instant::now());
        let done = match foreign::call("Queue::wait", || self.queue.wait(value, left)) {
            // Work that failed is done too.
            Err(error) => self.has_completed(value).then_some(true).ok_or(error)?,
            Ok(done) => done,
        };
        if done {
            self.poll(usize::MAX)?;
        }
        Ok(done)
    }

    /// Whether work up to `value` is known to be done.
    pub(crate) fn has_completed(&self, value: u64) -> bool {
        self.is_here() && completed(&*self.queue).is_ok_and(|completed| completed >= value)
    }

    /// Whether the queue is lost.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(completed(&*self.queue), Err(DeviceError::Lost { .. }))
    }

    /// The number of items that wait.
    pub(crate) fn len(&self) -> usize {
        self.list().len()
    }

    /// Takes the newest item that suits, before its work has completed. The item is for use by the same
    /// queue, whose next work runs after that work. Also returns the value that the item waited for.
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
    /// Drops the items whose work has completed, because no thread can submit to the queue or poll it any
    /// more. Also drops the items of a lost queue, because a lost device no longer touches memory.
    fn drop(&mut self) {
        if !self.is_here() {
            // A thread of the queue, if there is one, belongs to the parent process.
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
        // These come first, so that a panic in the drop of a finished item frees nothing that is in use.
        open.into_iter().for_each(|Retired { item, value, .. }| item.outlive(&self.queue, value));
        drop(done);
    }
}

/// Bytes that are part of a sum. Dropping this value takes them off the sum.
struct Counted<'a> {
    all: &'a AtomicU64,
    bytes: u64,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

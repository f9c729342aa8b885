//! What waits for a queue: one list, in the order of retiring, and one counter.
//!
//! Whatever is retired belongs to the list until the queue's counter has reached its value; then it
//! is dropped, which is what frees it. One read of the counter finds all that is ready at the front;
//! no event object is made per item. The lock is never held while an item is dropped or the queue
//! is asked or waited for, so completion handlers may retire and free.
//!
//! The list does not know what it holds. The pool keeps buffers in it; the model in `timeline/model`
//! keeps tokens, and tries every interleaving over this very code.
#![forbid(unsafe_code)]

#[cfg(all(test, loom))]
mod model;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::device::{DeviceError, Queue};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering::Relaxed};

/// How far back a queue looks for a range that it has just retired.
const LOOK: usize = 16;
/// How long the end of a queue's last handle waits for work that still uses retired items.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct Timeline<T> {
    queue: Arc<dyn Queue>,
    retired: Mutex<VecDeque<Retired<T>>>,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Retired<T> {
    value: u64,
    bytes: u64,
    item: T,
}

impl<T> Timeline<T> {
    pub(crate) fn new(queue: Arc<dyn Queue>) -> Self {
        Self { queue, retired: Mutex::new(VecDeque::new()), bytes: AtomicU64::new(0) }
    }

    pub(crate) fn queue(&self) -> &Arc<dyn Queue> {
        &self.queue
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
        let completed = self.queue.completed()?;
        let mut freed = 0;
        while freed < most {
            // The lock is let go before the item is: dropping may take any other lock.
            let ready = {
                let mut list = self.list();
                let ready = list.front().is_some_and(|retired| retired.value <= completed);
                if ready { list.pop_front() } else { None }
            };
            let Some(Retired { bytes, item, .. }) = ready else { break };
            drop(item);
            self.bytes.fetch_sub(bytes, Relaxed);
            freed += 1;
        }
        Ok(freed)
    }

    /// Waits for the work of the oldest item; `true` once that is done and all that was ready has
    /// been dropped, by whomever. `false` if time ran out first or nothing is retired.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<bool, DeviceError> {
        let Some(value) = self.first() else { return Ok(false) };
        let left = deadline.saturating_duration_since(Instant::now());
        let done = self.queue.wait(value, left)?;
        if done {
            self.poll(usize::MAX)?;
        }
        Ok(done)
    }

    /// Whether work up to `value` is known to be done.
    pub(crate) fn has_completed(&self, value: u64) -> bool {
        self.queue.completed().is_ok_and(|completed| completed >= value)
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

impl<T> Drop for Timeline<T> {
    /// Nobody can submit to or ask about the queue any more. What has completed is dropped, and so
    /// is what a lost queue held: a device that has given up no longer touches memory. What is
    /// still in use after a while is given up, not freed: a leak is better than a race.
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(true) = self.wait(deadline) {}
        let retired = std::mem::take(&mut *self.list());
        if retired.is_empty() || self.queue.completed().is_err() {
            return;
        }
        let (buffers, bytes) = (retired.len(), self.bytes());
        tracing::error!(
            buffers,
            bytes,
            "a queue was dropped whose work does not complete; the memory it may still use is not reused"
        );
        std::mem::forget(retired);
    }
}

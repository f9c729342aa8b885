//! A queue whose work completes when a caller says so. The caller can also hold it up or lose it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::device::{DeviceError, Queue};

/// A queue without work: a counter that tests and simulations move.
///
/// ```
/// use warmheap::device::{Queue, sim::SimQueue};
/// let queue = SimQueue::new();
/// let value = queue.submit();
/// assert_eq!(queue.completed(), Ok(0));
/// queue.complete(value);
/// assert_eq!(queue.completed(), Ok(1));
/// ```
#[derive(Debug, Default)]
pub struct SimQueue {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    submitted: u64,
    completed: u64,
    lost: Option<String>,
}

impl SimQueue {
    /// Returns a queue with nothing submitted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Submits work and returns the value with which it completes.
    pub fn submit(&self) -> u64 {
        let mut state = self.state();
        state.submitted += 1;
        state.submitted
    }

    /// Completes all work up to `value`, but never more than was submitted.
    pub fn complete(&self, value: u64) {
        let mut state = self.state();
        state.completed = state.completed.max(value.min(state.submitted));
        self.moved.notify_all();
    }

    /// Completes everything submitted so far.
    pub fn complete_all(&self) {
        self.complete(u64::MAX);
    }

    /// Loses the queue, which makes no more progress.
    pub fn lose(&self, reason: &str) {
        self.state().lost = Some(reason.into());
        self.moved.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<u64, DeviceError> {
        match &self.lost {
            Some(reason) => Err(DeviceError::Lost { reason: reason.clone() }),
            None => Ok(self.completed),
        }
    }
}

impl Queue for SimQueue {
    fn completed(&self) -> Result<u64, DeviceError> {
        self.state().check()
    }

    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        let waiting = |state: &mut State| state.lost.is_none() && state.completed < value;
        let waited = self.moved.wait_timeout_while(self.state(), timeout, waiting);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.check().map(|completed| completed >= value)
    }
}

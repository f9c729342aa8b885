//! Queues: orders of submission. Memory must outlive their work.

use std::fmt;
use std::time::Duration;

use super::DeviceError;

/// A GPU's order of submission, with one counter that rises as work completes: an MTLSharedEvent beside a
/// command queue, a CUDA stream with a host-visible counter, a worker thread.
///
/// Work submitted at value *n* is complete once [`Queue::completed`] is at least *n*, whether it succeeded or
/// failed: it touches memory no more. A queue that returns [`DeviceError::Lost`] does so for good, and none of
/// its work touches memory any more. Any other error, or a panic, says nothing about the work: what waits for the
/// queue goes on waiting.
///
/// A pool keeps a queue for as long as work on it uses the pool's memory, longer than any handle perhaps.
pub trait Queue: fmt::Debug + Send + Sync {
    /// Returns the highest value whose work, and all before it, has completed. This reads one counter and
    /// never waits, so completion handlers may call it.
    ///
    /// # Errors
    /// Returns [`DeviceError::Lost`] once the queue can make no more progress.
    fn completed(&self) -> Result<u64, DeviceError>;

    /// Waits until `value` has completed or `timeout` has passed. Returns whether it has completed.
    ///
    /// # Errors
    /// - [`DeviceError::Lost`] once the queue can make no more progress
    /// - any other error if the work at `value` has completed and failed, where the queue can tell
    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError>;

    /// Returns whether later work of this queue touches memory only after the earlier work on it is done. If
    /// not, the queue never reuses its own memory before a ticket completes
    /// ([`PoolQueue::allocate`](crate::PoolQueue::allocate)). The answer never changes.
    fn is_ordered(&self) -> bool {
        true
    }
}

//! Queues: orders of submission that memory must outlive.

use std::fmt;
use std::time::Duration;

use super::DeviceError;

/// A GPU submission order with one counter that rises as work completes: an MTLSharedEvent beside
/// a command queue, a CUDA stream with a host-visible counter, a worker thread.
///
/// Work submitted at value *n* is complete once [`Queue::completed`] is at least *n*. A queue that
/// answers [`DeviceError::Lost`] does so for good, and none of its work touches memory any more.
pub trait Queue: fmt::Debug + Send + Sync {
    /// The highest value whose work, and all before it, has completed. One counter read; never
    /// waits, callable from completion handlers.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] once the queue can make no more progress.
    fn completed(&self) -> Result<u64, DeviceError>;

    /// Waits until `value` has completed or `timeout` has passed, and says whether it has.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] once the queue can make no more progress.
    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError>;
}

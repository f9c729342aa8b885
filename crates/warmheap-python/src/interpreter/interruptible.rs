//! A queue whose waits look for signals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use warmheap::device::{DeviceError, Queue};

use super::wait::{PATIENCE, look_for_signals};

/// A queue whose waits end when a signal's handler raises.
#[derive(Debug)]
pub(crate) struct Interruptible<Q: ?Sized>(pub(crate) Arc<Q>);

impl<Q: Queue + ?Sized> Queue for Interruptible<Q> {
    fn completed(&self) -> Result<u64, DeviceError> {
        self.0.completed()
    }

    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        let begun = Instant::now();
        loop {
            let left = timeout.saturating_sub(begun.elapsed());
            if self.0.wait(value, left.min(PATIENCE))? {
                return Ok(true);
            }
            if look_for_signals() {
                return Err(DeviceError::Failed { call: "Queue::wait", reason: "a signal ended it".into() });
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }
}

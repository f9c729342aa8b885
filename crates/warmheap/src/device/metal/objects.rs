//! The budget of driver objects: a counter with a limit.
//!
//! Every MTLBuffer and MTLHeap counts against a limit of the whole process, however small it is. This module
//! owns only the count. A caller must take a permit before it creates the object, never after.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::device::{DeviceError, ObjectCount};

#[derive(Debug)]
pub(super) struct Objects {
    live: AtomicU64,
    limit: u64,
}

/// The right to hold one driver object. Dropping it gives the right back.
#[derive(Debug)]
pub(super) struct ObjectPermit(Arc<Objects>);

impl Objects {
    pub(super) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { live: AtomicU64::new(0), limit })
    }

    pub(super) fn count(&self) -> ObjectCount {
        ObjectCount { live: self.live.load(Relaxed), limit: self.limit }
    }

    pub(super) fn take(self: &Arc<Self>) -> Result<ObjectPermit, DeviceError> {
        self.live
            .fetch_update(Relaxed, Relaxed, |live| (live < self.limit).then_some(live + 1))
            .map(|_| ObjectPermit(Arc::clone(self)))
            .map_err(|live| DeviceError::TooManyObjects { live, limit: self.limit })
    }
}

impl Drop for ObjectPermit {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_dropping_gives_back() {
        let objects = Objects::new(2);
        let first = objects.take().unwrap();
        let _second = objects.take().unwrap();
        assert_eq!(objects.take().unwrap_err(), DeviceError::TooManyObjects { live: 2, limit: 2 });
        drop(first);
        assert!(objects.take().is_ok());
        assert_eq!(objects.count(), ObjectCount { live: 1, limit: 2 });
    }
}

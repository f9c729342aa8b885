//! A queue: an MTLCommandQueue whose submissions are numbered.
//!
//! The number of a submission is its ticket. The queue knows when each ticket has completed and which failed
//! (`in_flight`). A free needs no object of Metal. The queue must never hold a lock while it waits for the
//! GPU, because completion handlers read what has completed.
#![forbid(unsafe_code)]

mod in_flight;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_metal::{MTLCommandBuffer, MTLCommandQueue, MTLDevice};

use super::autorelease::pooled;
use super::residency::Residency;
use super::shared::Shared;
use crate::device::{DeviceError, Queue};
use in_flight::InFlight;

/// An MTLCommandQueue whose submissions are numbered. Memory freed under a ticket is reused only when the
/// command buffer of that ticket, and all before it, have ended.
///
/// A command buffer that fails has ended too, because it touches memory no more. Its error is kept:
/// [`Queue::wait`] and [`MetalQueue::failure`] return it for its ticket. A queue keeps its last 1,024 errors.
///
/// The queue needs macOS 12 or iOS 15, to wait for a shared event. All methods may be called from any thread,
/// completion handlers included.
#[derive(Debug)]
pub struct MetalQueue {
    raw: Shared<dyn MTLCommandQueue>,
    in_flight: Arc<InFlight>,
    queues: Queues,
}

/// What the queues of one device share: its residency, whether they reuse memory early, and each other.
/// Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Queues(Arc<All>);

#[derive(Debug)]
struct All {
    residency: Residency,
    early_reuse: bool,
    known: Mutex<Vec<Weak<InFlight>>>,
}

impl Queues {
    pub(super) fn new(residency: &Residency, early_reuse: bool) -> Self {
        Self(Arc::new(All { residency: residency.clone(), early_reuse, known: Mutex::default() }))
    }

    fn add(&self, queue: &Arc<InFlight>) {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.strong_count() > 0);
        known.push(Arc::downgrade(queue));
    }

    /// Signals for submissions that failed on any queue, so that work which waits for them goes on.
    fn poll(&self) {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.iter().filter_map(Weak::upgrade).for_each(|queue| {
            queue.poll();
        });
    }
}

impl MetalQueue {
    pub(super) fn new(
        device: &ProtocolObject<dyn MTLDevice>,
        raw: Option<Retained<ProtocolObject<dyn MTLCommandQueue>>>,
        queues: &Queues,
    ) -> Result<Self, DeviceError> {
        let missing = |call| DeviceError::Failed { call, reason: "it returned nil".into() };
        pooled(|| {
            let raw = raw.or_else(|| device.newCommandQueue()).ok_or_else(|| missing("newCommandQueue"))?;
            let in_flight = InFlight::new(device).ok_or_else(|| missing("newSharedEvent"))?;
            let queue = Self { raw: Shared(raw), in_flight: Arc::new(in_flight), queues: queues.clone() };
            queues.add(&queue.in_flight);
            queues.0.residency.attach(&queue.raw);
            Ok(queue)
        })
    }

    /// Returns the MTLCommandQueue.
    #[must_use]
    pub fn raw(&self) -> &ProtocolObject<dyn MTLCommandQueue> {
        &self.raw
    }

    /// Encodes this queue's signal at the end of `buffer` and commits the buffer. Returns the ticket under
    /// which to free its memory. `buffer` must come from this queue, and no encoder may be open.
    pub fn submit(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>) -> u64 {
        self.queues.0.residency.before_work();
        self.in_flight.add(buffer, || buffer.commit())
    }

    /// As [`MetalQueue::submit`], but leaves the commit to the caller. The caller must commit in the order in
    /// which tickets were taken. The ticket, and those after it, complete only once the buffer is committed.
    pub fn encode_signal(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>) -> u64 {
        self.queues.0.residency.before_work();
        self.in_flight.add(buffer, || {})
    }

    /// Makes `buffer` wait on the GPU until `ticket`, and all before it, have completed. `buffer` may come
    /// from any queue of this device. The CPU does not wait. No encoder may be open.
    ///
    /// If a submission fails, the wait ends when a thread next calls a method of this queue, or waits for
    /// another [`MetalQueue`] of the device.
    pub fn encode_wait(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>, ticket: u64) {
        self.in_flight.encode_wait(buffer, ticket);
    }

    /// Returns the last ticket handed out, or 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.in_flight.last()
    }

    /// Returns the error of `ticket`, if its command buffer has failed, all before it have ended, and the
    /// error is among the last that the queue keeps.
    #[must_use]
    pub fn failure(&self, ticket: u64) -> Option<DeviceError> {
        self.in_flight.poll();
        self.in_flight.failure(ticket)
    }

    /// As [`MetalQueue::failure`], for the first submission after `ticket` that failed.
    pub(super) fn first_failure_after(&self, ticket: u64) -> Option<DeviceError> {
        self.in_flight.first_failure_after(ticket)
    }
}

impl Queue for MetalQueue {
    fn completed(&self) -> Result<u64, DeviceError> {
        Ok(self.in_flight.poll())
    }

    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        if !self.in_flight.wait(value, timeout, || self.queues.poll()) {
            return Ok(false);
        }
        self.in_flight.failure(value).map_or(Ok(true), Err)
    }

    fn is_ordered(&self) -> bool {
        self.queues.0.early_reuse
    }
}

impl Drop for MetalQueue {
    fn drop(&mut self) {
        pooled(|| self.queues.0.residency.detach(&self.raw));
    }
}

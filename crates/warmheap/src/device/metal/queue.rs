//! A queue: an MTLCommandQueue with one MTLSharedEvent as its counter.
//!
//! Each submission ends by setting the event to the next value. That value is the ticket. A queue has one
//! event, and a free needs none. The queue must never hold its lock while it waits for the GPU, because
//! completion handlers read the counter.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_metal::{
    MTLCommandBuffer, MTLCommandBufferStatus, MTLCommandQueue, MTLDevice, MTLEvent, MTLSharedEvent,
};

use super::autorelease::pooled;
use super::residency::Residency;
use super::shared::Shared;
use crate::device::{DeviceError, Queue};

/// An MTLCommandQueue whose submissions are numbered. Memory freed under a ticket is reused only when the GPU
/// has passed that ticket.
///
/// The queue needs macOS 12 or iOS 15, to wait for a shared event. All methods may be called from any thread,
/// completion handlers included.
#[derive(Debug)]
pub struct MetalQueue {
    raw: Shared<dyn MTLCommandQueue>,
    event: Shared<dyn MTLSharedEvent>,
    /// The last ticket handed out.
    last: AtomicU64,
    /// The submissions that are not known to be complete, oldest first. The lock also keeps tickets in the
    /// order of commits.
    in_flight: Mutex<VecDeque<InFlight>>,
    residency: Residency,
}

#[derive(Debug)]
struct InFlight {
    value: u64,
    buffer: Shared<dyn MTLCommandBuffer>,
}

impl MetalQueue {
    pub(super) fn new(
        device: &ProtocolObject<dyn MTLDevice>,
        raw: Option<Retained<ProtocolObject<dyn MTLCommandQueue>>>,
        residency: &Residency,
    ) -> Result<Self, DeviceError> {
        let missing = |call| DeviceError::Failed { call, reason: "it returned nil".into() };
        let raw = raw.or_else(|| device.newCommandQueue()).ok_or_else(|| missing("newCommandQueue"))?;
        let event = device.newSharedEvent().ok_or_else(|| missing("newSharedEvent"))?;
        residency.attach(&raw);
        Ok(Self {
            raw: Shared(raw),
            event: Shared(event),
            last: AtomicU64::new(0),
            in_flight: Mutex::default(),
            residency: residency.clone(),
        })
    }

    /// Returns the MTLCommandQueue.
    #[must_use]
    pub fn raw(&self) -> &ProtocolObject<dyn MTLCommandQueue> {
        &self.raw
    }

    /// Returns the event whose value rises as submissions complete.
    #[must_use]
    pub fn event(&self) -> &ProtocolObject<dyn MTLSharedEvent> {
        &self.event
    }

    /// Encodes this queue's signal at the end of `buffer` and commits the buffer. Returns the ticket under
    /// which to free its memory. `buffer` must come from this queue, and no encoder may be open.
    pub fn submit(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>) -> u64 {
        self.enqueue(buffer, true)
    }

    /// As [`MetalQueue::submit`], but leaves the commit to the caller. The caller must commit in the order in
    /// which tickets were taken, because the counter must never step back.
    pub fn encode_signal(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>) -> u64 {
        self.enqueue(buffer, false)
    }

    /// Makes `buffer` wait on the GPU until `ticket` has completed. `buffer` may come from any queue of this
    /// device. The CPU does not wait. No encoder may be open.
    pub fn encode_wait(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>, ticket: u64) {
        buffer.encodeWaitForEvent_value(as_event(&self.event), ticket);
    }

    /// Returns the last ticket handed out, or 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Relaxed)
    }

    fn enqueue(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>, commit: bool) -> u64 {
        self.residency.before_work();
        pooled(|| {
            let mut in_flight = self.lock();
            self.forget_completed(&mut in_flight);
            let value = self.last.load(Relaxed) + 1;
            buffer.encodeSignalEvent_value(as_event(&self.event), value);
            in_flight.push_back(InFlight { value, buffer: Shared::retain(buffer) });
            self.last.store(value, Relaxed);
            if commit {
                buffer.commit();
            }
            value
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<InFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the counter, and releases the submissions that it has passed.
    fn forget_completed(&self, in_flight: &mut VecDeque<InFlight>) -> u64 {
        let done = self.event.signaledValue();
        while in_flight.front().is_some_and(|first| first.value <= done) {
            in_flight.pop_front();
        }
        done
    }
}

/// Returns the error text of a failed command buffer.
fn failure(buffer: &ProtocolObject<dyn MTLCommandBuffer>) -> String {
    pooled(|| {
        buffer.error().map_or_else(
            || "a command buffer failed without a reason".into(),
            |error| error.localizedDescription().to_string(),
        )
    })
}

fn as_event(event: &ProtocolObject<dyn MTLSharedEvent>) -> &ProtocolObject<dyn MTLEvent> {
    ProtocolObject::from_ref(event)
}

impl Queue for MetalQueue {
    fn completed(&self) -> Result<u64, DeviceError> {
        let mut in_flight = self.lock();
        let done = self.forget_completed(&mut in_flight);
        match in_flight.front() {
            // A failed submission never signals, so the counter alone would not show the failure.
            Some(first) if first.buffer.status() == MTLCommandBufferStatus::Error => {
                Err(DeviceError::Lost { reason: failure(&first.buffer) })
            }
            _ => Ok(done),
        }
    }

    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        /// The longest time until a failed submission is noticed.
        const SLICE: Duration = Duration::from_millis(50);
        let start = Instant::now();
        loop {
            if self.completed()? >= value {
                return Ok(true);
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            let slice = left.min(SLICE).as_millis().max(1) as u64;
            if self.event.waitUntilSignaledValue_timeoutMS(value, slice) {
                return Ok(true);
            }
        }
    }
}

impl Drop for MetalQueue {
    fn drop(&mut self) {
        self.residency.detach(&self.raw);
    }
}

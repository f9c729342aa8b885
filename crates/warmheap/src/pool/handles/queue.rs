//! Memory in flight: buffers that wait for work on a queue.
//!
//! The module owns the handle of a queue. A retired buffer belongs to its queue's [`Timeline`] until the
//! queue has passed the ticket. Then it is dropped, which gives its span back. So the rest of the pool need
//! not know about work in flight, and no other caller can get a span early: until then the span is simply
//! still taken.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::Pool;
use crate::device::{DeviceError, Queue};
use crate::pool::accounting::foreign;
use crate::pool::core::buffer::{Buffer, Ticket};
use crate::pool::in_flight::early_reuse::PendingTicket;
use crate::pool::in_flight::timeline::Timeline;
use crate::pool::interface::error::AllocError;
use crate::pool::interface::request::Request;

/// A queue of a device, and the buffers that wait for it. Clones are the same queue.
///
/// ```
/// use std::sync::Arc;
/// use warmheap::device::sim::{SimDevice, SimQueue};
/// use warmheap::{Pool, PoolConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic())?;
/// let sim = Arc::new(SimQueue::new());
/// let queue = pool.queue(sim.clone());
///
/// let scratch = pool.allocate(1 << 20)?;
/// let value = sim.submit(); // work that uses `scratch`
/// scratch.retire(&queue.ticket(value));
/// assert_eq!(queue.retired_bytes(), 1 << 20);
///
/// sim.complete(value);
/// queue.poll()?;
/// assert_eq!(queue.retired_bytes(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PoolQueue {
    /// The timeline is dropped first, so that what the queue has completed is free when the pool may close.
    timeline: Arc<Timeline<Buffer>>,
    /// Whether later work of the queue comes after earlier work on the same memory.
    is_ordered: bool,
    pool: Pool,
}

impl PoolQueue {
    pub(crate) fn new(pool: Pool, queue: Arc<dyn Queue>) -> Self {
        // A queue that panics is not trusted to keep an order.
        let is_ordered = foreign::call("Queue::is_ordered", || Ok(queue.is_ordered())).unwrap_or(false);
        Self { pool, is_ordered, timeline: Arc::new(Timeline::new(queue)) }
    }

    pub(crate) fn timeline(&self) -> &Arc<Timeline<Buffer>> {
        &self.timeline
    }

    /// A number from 1 that no other queue of this process has, for logs and traces.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.timeline.number()
    }

    /// The position after the submission that completes as `value`.
    #[must_use]
    pub fn ticket(&self, value: u64) -> Ticket {
        self.timeline.name(value);
        Ticket { timeline: Arc::clone(&self.timeline), value }
    }

    /// As [`Pool::allocate`], for work that will be submitted to this queue. A span of the right length that
    /// the queue has retired may be reused at once, before its ticket completes, because later work of the
    /// same queue comes after it. A queue that is not ordered ([`Queue::is_ordered`]) waits for the ticket.
    ///
    /// The caller orders hazards within the queue and does not write such a buffer from the CPU. No other
    /// queue or caller gets the span before that ticket has completed, whatever becomes of the buffer.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    #[track_caller]
    pub fn allocate(&self, request: impl Into<Request>) -> Result<Buffer, AllocError> {
        let request = request.into();
        let site = request.site();
        // The queue's retired buffers stand behind a lock.
        if !self.is_ordered || !request.may_block() {
            return self.pool.allocate(request.call_site(site));
        }
        let pool = self.pool.here()?;
        let suits = |buffer: &mut Buffer| buffer.suits(pool, &request) && buffer.recharge(&request);
        match self.timeline.take_back(suits) {
            Some((buffer, value)) => {
                Ok(buffer.handed_on(&request, site, PendingTicket::new(&self.timeline, value)))
            }
            None => self.pool.allocate(request.call_site(site)),
        }
    }

    /// Frees the retired buffers whose work has completed. Returns their number.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] if the queue makes no more progress. Its retired buffers stay where they are,
    /// and no caller can get their memory, until the last handle and ticket of the queue are gone.
    pub fn poll(&self) -> Result<usize, DeviceError> {
        self.timeline.poll(usize::MAX)
    }

    /// The last position that memory may wait for: the highest of the tickets that were made, if its work is
    /// not done. `None` means that the queue can go. Nothing waits for it then: no retired buffer, none that
    /// the queue reused early, and no movable buffer that its work uses.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] if the queue makes no more progress; the device's error if it cannot tell.
    pub fn unfinished(&self) -> Result<Option<u64>, DeviceError> {
        self.timeline.unfinished()
    }

    /// Requested bytes that wait for this queue.
    #[must_use]
    pub fn retired_bytes(&self) -> u64 {
        self.timeline.bytes()
    }
}

//! Memory in flight: buffers that wait for work on a queue.
//!
//! A retired buffer belongs to its queue's [`Timeline`] until the queue has passed the ticket; then
//! it is dropped, which is what gives its range back. So nothing else in the pool needs to know about
//! work in flight, and nobody can be given a range early: until then the range is simply still held.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Pool;
use super::buffer::Buffer;
use super::early::Debt;
use super::error::AllocError;
use super::request::Request;
use super::site::Site;
use super::timeline::Timeline;
use crate::device::{DeviceError, Queue};

/// The most buffers freed by one look, so that no single retire pays for many.
const BATCH: usize = 16;
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
/// let scratch = pool.allocate(1_u64 << 20)?;
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
    /// Goes first: what the queue is done with is free by the time that the pool may close.
    timeline: Arc<Timeline<Buffer>>,
    pool: Pool,
}

/// A position in a queue's order: all work up to some submission.
#[derive(Debug, Clone)]
pub struct Ticket {
    timeline: Arc<Timeline<Buffer>>,
    value: u64,
}

impl Ticket {
    /// Whether all work up to this position has completed. One read of the queue's counter; a lost
    /// queue completes nothing more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.timeline.has_completed(self.value)
    }

    /// The same, for one who must not count as a holder of the queue.
    pub(crate) fn debt(&self) -> Debt {
        Debt::new(&self.timeline, self.value)
    }
}

impl PoolQueue {
    pub(crate) fn new(pool: Pool, queue: Arc<dyn Queue>) -> Self {
        Self { pool, timeline: Arc::new(Timeline::new(queue)) }
    }

    pub(crate) fn timeline(&self) -> &Arc<Timeline<Buffer>> {
        &self.timeline
    }

    /// The position after the submission that completes as `value`.
    #[must_use]
    pub fn ticket(&self, value: u64) -> Ticket {
        Ticket { timeline: Arc::clone(&self.timeline), value }
    }

    /// As [`Pool::allocate`], for work that will be submitted to this queue: a range of the right
    /// length that the queue has retired may be reused at once, before its ticket completes,
    /// because later work of the same queue comes after it. The caller orders hazards within the
    /// queue and does not write such a buffer from the CPU. Nobody else gets the range before that
    /// ticket has completed, whatever becomes of the buffer.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    #[track_caller]
    pub fn allocate(&self, request: impl Into<Request>) -> Result<Buffer, AllocError> {
        self.allocate_at(request, Site::caller())
    }

    /// As [`PoolQueue::allocate`], with the place to keep for leak reports.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    pub fn allocate_at(
        &self,
        request: impl Into<Request>,
        site: impl Into<Site>,
    ) -> Result<Buffer, AllocError> {
        let (request, site) = (request.into(), site.into());
        let pool = self.pool.here()?;
        let suits = |buffer: &mut Buffer| buffer.suits(pool, &request) && buffer.recharge(&request);
        match self.timeline.take_back(suits) {
            Some((buffer, value)) => Ok(buffer.handed_on(&request, site, Debt::new(&self.timeline, value))),
            None => self.pool.allocate_at(request, site),
        }
    }

    /// Frees the retired buffers whose work has completed, and says how many those were.
    ///
    /// # Errors
    /// [`DeviceError::Lost`] if the queue makes no more progress. Its retired buffers stay where
    /// they are, out of everyone's reach, until the last handle and ticket of the queue are gone.
    pub fn poll(&self) -> Result<usize, DeviceError> {
        self.timeline.poll(usize::MAX)
    }

    /// Requested bytes that wait for this queue.
    #[must_use]
    pub fn retired_bytes(&self) -> u64 {
        self.timeline.bytes()
    }
}

impl Buffer {
    /// Frees the buffer once the ticket's work has completed. Returns at once; may be called from
    /// any thread, completion handlers included. Also frees a few buffers that are ready. A ticket that the
    /// child of a fork has inherited never completes there: the buffer stays taken.
    pub fn retire(mut self, ticket: &Ticket) {
        let Ticket { timeline, value } = ticket;
        if self.here().is_err() || !timeline.is_here() {
            // The work is the parent's; whether it is done cannot be known here.
            return std::mem::forget(self);
        }
        self.pay(timeline, *value);
        timeline.retire(*value, self.size(), self);
        // A lost queue is reported to those who poll; this buffer waits like the others.
        let _ = timeline.poll(BATCH);
    }
}

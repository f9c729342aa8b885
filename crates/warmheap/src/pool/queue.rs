//! Memory in flight: buffers that wait for work on a queue.
//!
//! A retired buffer belongs to its queue until the queue has passed the ticket; then it is dropped,
//! which is what gives its range back. So nothing else in the pool needs to know about work in
//! flight, and nobody can be given a range early: until then the range is simply still held.
//!
//! There is one list per queue, in the order of retiring, and one counter read finds all that is
//! ready at its front. No event object is made per free. The list's lock is never held while a
//! buffer is dropped or the queue is waited for, so completion handlers may retire and free.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::error::AllocError;
use super::lock;
use super::request::Request;
use super::site::Site;
use super::{Pool, shared::Shared};
use crate::device::{DeviceError, Queue};

/// The most buffers freed by one look, so that no single retire pays for many.
const BATCH: usize = 16;
/// How far back an allocation looks for a range that its own queue has just retired.
const LOOK: usize = 16;
/// How long the end of a queue's last handle waits for work that still uses retired buffers.
const PATIENCE: Duration = Duration::from_secs(5);

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
    pool: Pool,
    timeline: Arc<Timeline>,
}

/// A position in a queue's order: all work up to some submission.
#[derive(Debug, Clone)]
pub struct Ticket {
    timeline: Arc<Timeline>,
    value: u64,
}

/// A queue's counter and what waits for it.
#[derive(Debug)]
pub(crate) struct Timeline {
    queue: Arc<dyn Queue>,
    retired: Mutex<VecDeque<Retired>>,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Retired {
    value: u64,
    buffer: Buffer,
}

impl PoolQueue {
    pub(crate) fn new(pool: Pool, queue: Arc<dyn Queue>) -> Self {
        let timeline = Timeline { queue, retired: Mutex::default(), bytes: AtomicU64::new(0) };
        Self { pool, timeline: Arc::new(timeline) }
    }

    pub(crate) fn timeline(&self) -> &Arc<Timeline> {
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
    /// queue and does not write such a buffer from the CPU.
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
        if let Some(buffer) = self.timeline.take_back(self.pool.shared(), &request) {
            return Ok(buffer.handed_on(&request, site));
        }
        self.pool.allocate_at(request, site)
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
    /// any thread, completion handlers included. Also frees a few buffers that are ready.
    pub fn retire(self, ticket: &Ticket) {
        let Ticket { timeline, value } = ticket;
        timeline.bytes.fetch_add(self.size(), Relaxed);
        lock(&timeline.retired).push_back(Retired { value: *value, buffer: self });
        // A lost queue is reported to those who poll; this buffer waits like the others.
        let _ = timeline.poll(BATCH);
    }
}

impl Timeline {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Frees up to `most` buffers from the front whose work has completed.
    pub(crate) fn poll(&self, most: usize) -> Result<usize, DeviceError> {
        let Some(first) = lock(&self.retired).front().map(|retired| retired.value) else { return Ok(0) };
        let completed = self.queue.completed()?;
        let mut freed = 0;
        if first > completed {
            return Ok(0);
        }
        while freed < most {
            // The lock is let go before the buffer is: dropping may take any other lock.
            let ready = {
                let mut retired = lock(&self.retired);
                let ready = retired.front().is_some_and(|retired| retired.value <= completed);
                if ready { retired.pop_front() } else { None }
            };
            let Some(Retired { buffer, .. }) = ready else { break };
            self.bytes.fetch_sub(buffer.size(), Relaxed);
            freed += 1;
        }
        Ok(freed)
    }

    /// Waits for the work of the oldest retired buffer; `true` once that is done and all that was
    /// ready has been freed, by whomever. `false` if time ran out first or nothing is retired.
    pub(crate) fn wait(&self, deadline: Instant) -> Result<bool, DeviceError> {
        let Some(value) = lock(&self.retired).front().map(|retired| retired.value) else { return Ok(false) };
        let left = deadline.saturating_duration_since(Instant::now());
        let done = self.queue.wait(value, left)?;
        if done {
            self.poll(usize::MAX)?;
        }
        Ok(done)
    }

    /// A buffer retired lately whose range suits a request of the same pool exactly.
    fn take_back(&self, pool: &Shared, request: &Request) -> Option<Buffer> {
        let mut retired = lock(&self.retired);
        let newest = retired.len().checked_sub(1)?;
        let suits = |place: &usize| retired[*place].buffer.suits(pool, request);
        let place = (newest.saturating_sub(LOOK - 1)..=newest).rev().find(suits)?;
        if !retired[place].buffer.recharge(request) {
            return None;
        }
        let Retired { buffer, .. } = retired.remove(place)?;
        self.bytes.fetch_sub(buffer.size(), Relaxed);
        Some(buffer)
    }
}

impl Drop for Timeline {
    /// Nobody can submit to or ask about the queue any more. What has completed is freed, and so
    /// is what a lost queue held: a device that has given up no longer touches memory. What is
    /// still in use after a while is given up, not freed: a leak is better than a race.
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(true) = self.wait(deadline) {}
        let retired = std::mem::take(&mut *lock(&self.retired));
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

//! The buffers that players hold: some stay where they are, and compaction may move others.
//!
//! The place of a movable buffer is known only while the buffer is pinned. The oracle knows it while the
//! buffer is pinned, and while a queue may use it. In that time the buffer must not move, and no other buffer
//! may get its memory.
#![forbid(unsafe_code)]

use std::ops::Deref;

use super::oracle::{InFlight, Oracle};
use super::queues::Work;
use crate::soak::finding::Finding;
use warmheap::{Buffer, MovableBuffer, PinnedBuffer};

/// A buffer, with what is known of it.
#[derive(Debug)]
pub(in crate::soak) enum Held {
    Still(Still),
    Movable(MovableHandle),
}

/// A buffer that stays where it is.
#[derive(Debug)]
pub(in crate::soak) struct Still {
    pub(in crate::soak) buffer: Buffer,
    pub(in crate::soak) number: u64,
    /// The queue that the buffer was allocated through, and that may still use the memory: the slot and the
    /// queue's number.
    pub(in crate::soak) queue: Option<(usize, u64)>,
}

/// A buffer that compaction may have moved since it was last pinned.
#[derive(Debug)]
pub(in crate::soak) struct MovableHandle {
    buffer: MovableBuffer,
    known: Known,
}

#[derive(Debug)]
struct Known {
    number: u64,
    align: u64,
    lent: Option<Lent>,
}

/// The last work that uses a movable buffer.
#[derive(Debug)]
struct Lent {
    slot: usize,
    work: InFlight,
    address: u64,
}

/// A movable buffer that is pinned, and known to the oracle.
#[derive(Debug)]
pub(in crate::soak) struct PinnedView<'a> {
    oracle: &'a Oracle,
    buffer: PinnedBuffer<'a>,
    work: Option<&'a InFlight>,
}

/// Pins the buffers that may move.
pub(in crate::soak) fn look_at<'a>(
    held: impl IntoIterator<Item = &'a Held>,
    oracle: &'a Oracle,
) -> Result<Vec<PinnedView<'a>>, Finding> {
    held.into_iter().filter_map(|held| held.look(oracle)).collect()
}

impl Held {
    /// Returns the queue that may still use the memory: the slot and the queue's number.
    pub(in crate::soak) fn queue(&self) -> Option<(usize, u64)> {
        match self {
            Self::Still(still) => still.queue,
            Self::Movable(handle) => handle.known.lent.as_ref().map(Lent::queue),
        }
    }

    /// Pins a buffer that may move.
    fn look<'a>(&'a self, oracle: &'a Oracle) -> Option<Result<PinnedView<'a>, Finding>> {
        match self {
            Self::Still(_) => None,
            Self::Movable(handle) => Some(handle.look(oracle)),
        }
    }

    /// Returns the buffer as one that does not move any more.
    pub(in crate::soak) fn into_still(self, oracle: &Oracle) -> Result<Still, Finding> {
        let MovableHandle { buffer, known } = match self {
            Self::Still(still) => return Ok(still),
            Self::Movable(handle) => handle,
        };
        let buffer = buffer.into_buffer();
        known.found(&buffer, oracle)?;
        Ok(Still { buffer, number: known.number, queue: known.lent.as_ref().map(Lent::queue) })
    }

    /// Frees the buffer, which no queue uses.
    pub(in crate::soak) fn free(self, oracle: &Oracle) -> Result<(), Finding> {
        match self {
            Self::Still(Still { buffer, number, .. }) => oracle.freed(&buffer, number),
            Self::Movable(handle) => {
                let mut view = handle.look(oracle)?;
                view.work = None;
                oracle.freed(&view, handle.known.number)
            }
        }
    }
}

impl MovableHandle {
    /// Notes a new buffer, which `receive` checks and numbers.
    pub(in crate::soak) fn new(
        buffer: MovableBuffer,
        align: u64,
        oracle: &Oracle,
        receive: impl FnOnce(&Buffer) -> Result<u64, Finding>,
    ) -> Result<Self, Finding> {
        let pinned = buffer.pin();
        let number = receive(&pinned)?;
        drop(PinnedView { oracle, buffer: pinned, work: None });
        Ok(Self { buffer, known: Known { number, align, lent: None } })
    }

    /// Pins the buffer, and checks its place and its contents.
    pub(in crate::soak) fn look<'a>(&'a self, oracle: &'a Oracle) -> Result<PinnedView<'a>, Finding> {
        let buffer = self.buffer.pin();
        self.known.found(&buffer, oracle)?;
        Ok(PinnedView { oracle, buffer, work: self.known.lent.as_ref().map(|lent| &lent.work) })
    }

    /// Gives the buffer to a queue where it is now, unless another queue still uses it. Returns whether it
    /// did.
    pub(in crate::soak) fn lend(
        &mut self,
        slot: usize,
        work: &Work,
        oracle: &Oracle,
    ) -> Result<bool, Finding> {
        let busy = |lent: &Lent| lent.queue() != (slot, work.number) && !lent.work.is_over();
        if self.known.lent.as_ref().is_some_and(busy) {
            return Ok(false);
        }
        let buffer = self.buffer.pin();
        self.known.found(&buffer, oracle)?;
        let (ticket, value) = work.submit();
        self.buffer.in_flight_until(&ticket);
        let lent = Lent { slot, work: InFlight::new(work, value), address: buffer.device_address() };
        let lent = self.known.lent.insert(lent);
        drop(PinnedView { oracle, buffer, work: Some(&lent.work) });
        Ok(true)
    }
}

impl Known {
    /// Tells the oracle where the buffer is, pinned or for good.
    fn found(&self, buffer: &Buffer, oracle: &Oracle) -> Result<(), Finding> {
        let (size, align, address) = (buffer.size(), self.align, buffer.device_address());
        // Work that is not over now was not over at any time since it got the buffer.
        let moved = |lent: &&Lent| lent.address != address && !lent.work.is_over();
        if let Some(lent) = self.lent.as_ref().filter(moved) {
            return Err(lent.work.moved(lent.address, address, size));
        }
        if !address.is_multiple_of(align) {
            return Err(Finding::Misfit { size, align, found: size, address });
        }
        oracle.found(buffer, self.number, self.lent.as_ref().map(|lent| &lent.work))
    }
}

impl Lent {
    fn queue(&self) -> (usize, u64) {
        (self.slot, self.work.queue())
    }
}

impl Deref for PinnedView<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl Drop for PinnedView<'_> {
    fn drop(&mut self) {
        // The buffer is still pinned here.
        self.oracle.out_of_view(&self.buffer, self.work);
    }
}

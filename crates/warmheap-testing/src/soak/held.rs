//! What players hold: buffers that lie still, and buffers that compaction may move.
//!
//! Where a movable buffer lies is known only while it is pinned. So it is in the oracle's book for as
//! long as somebody looks at it, and for as long as a queue was said to use it: then it must not have
//! moved, and nobody else may have been given the place.
#![forbid(unsafe_code)]

use std::ops::Deref;

use super::finding::Finding;
use super::lanes::Work;
use super::oracle::{InFlight, Oracle};
use warmheap::{Buffer, Movable, Pinned};

/// A buffer, and what is known of it.
#[derive(Debug)]
pub(super) enum Held {
    Still(Still),
    Movable(Rover),
}

/// A buffer that stays where it is.
#[derive(Debug)]
pub(super) struct Still {
    pub(super) buffer: Buffer,
    pub(super) number: u64,
    /// The queue it was asked for by, which may still use the memory: the lane and the queue there.
    pub(super) queue: Option<(usize, u64)>,
}

/// A buffer that may be elsewhere each time one looks.
#[derive(Debug)]
pub(super) struct Rover {
    buffer: Movable,
    known: Known,
}

#[derive(Debug)]
struct Known {
    number: u64,
    align: u64,
    lent: Option<Lent>,
}

/// The work that a movable buffer was given to last.
#[derive(Debug)]
struct Lent {
    lane: usize,
    work: InFlight,
    address: u64,
}

/// A movable buffer that is looked at: pinned, and in the book.
#[derive(Debug)]
pub(super) struct Sight<'a> {
    oracle: &'a Oracle,
    buffer: Pinned<'a>,
    work: Option<&'a InFlight>,
}

/// Pins the buffers that may move.
pub(super) fn look_at<'a>(
    held: impl IntoIterator<Item = &'a Held>,
    oracle: &'a Oracle,
) -> Result<Vec<Sight<'a>>, Finding> {
    held.into_iter().filter_map(|held| held.look(oracle)).collect()
}

impl Held {
    /// The queue that may still use the memory: the lane and the queue there.
    pub(super) fn queue(&self) -> Option<(usize, u64)> {
        match self {
            Self::Still(still) => still.queue,
            Self::Movable(rover) => rover.known.lent.as_ref().map(Lent::queue),
        }
    }

    /// Pins a buffer that may move.
    fn look<'a>(&'a self, oracle: &'a Oracle) -> Option<Result<Sight<'a>, Finding>> {
        match self {
            Self::Still(_) => None,
            Self::Movable(rover) => Some(rover.look(oracle)),
        }
    }

    /// The buffer as one that does not move any more.
    pub(super) fn into_still(self, oracle: &Oracle) -> Result<Still, Finding> {
        let Rover { buffer, known } = match self {
            Self::Still(still) => return Ok(still),
            Self::Movable(rover) => rover,
        };
        let buffer = buffer.into_buffer();
        known.found(&buffer, oracle)?;
        Ok(Still { buffer, number: known.number, queue: known.lent.as_ref().map(Lent::queue) })
    }

    /// Frees the buffer, which no queue uses.
    pub(super) fn free(self, oracle: &Oracle) -> Result<(), Finding> {
        match self {
            Self::Still(Still { buffer, number, .. }) => oracle.freed(&buffer, number),
            Self::Movable(rover) => {
                let mut sight = rover.look(oracle)?;
                sight.work = None;
                oracle.freed(&sight, rover.known.number)
            }
        }
    }
}

impl Rover {
    /// Notes a new buffer, which `receive` looks at and gives a number.
    pub(super) fn new(
        buffer: Movable,
        align: u64,
        oracle: &Oracle,
        receive: impl FnOnce(&Buffer) -> Result<u64, Finding>,
    ) -> Result<Self, Finding> {
        let pinned = buffer.pin();
        let number = receive(&pinned)?;
        drop(Sight { oracle, buffer: pinned, work: None });
        Ok(Self { buffer, known: Known { number, align, lent: None } })
    }

    /// Pins the buffer, and looks whether all is as it should be.
    pub(super) fn look<'a>(&'a self, oracle: &'a Oracle) -> Result<Sight<'a>, Finding> {
        let buffer = self.buffer.pin();
        self.known.found(&buffer, oracle)?;
        Ok(Sight { oracle, buffer, work: self.known.lent.as_ref().map(|lent| &lent.work) })
    }

    /// Has a queue use the buffer where it is now, unless another still does.
    pub(super) fn lend(&mut self, lane: usize, work: &Work, oracle: &Oracle) -> Result<bool, Finding> {
        let busy = |lent: &Lent| lent.queue() != (lane, work.number) && !lent.work.is_over();
        if self.known.lent.as_ref().is_some_and(busy) {
            return Ok(false);
        }
        let buffer = self.buffer.pin();
        self.known.found(&buffer, oracle)?;
        let (ticket, value) = work.submit();
        self.buffer.in_flight_until(&ticket);
        let lent = Lent { lane, work: InFlight::new(work, value), address: buffer.address() };
        let lent = self.known.lent.insert(lent);
        drop(Sight { oracle, buffer, work: Some(&lent.work) });
        Ok(true)
    }
}

impl Known {
    /// Notes where the buffer is, pinned or for good.
    fn found(&self, buffer: &Buffer, oracle: &Oracle) -> Result<(), Finding> {
        let (size, align, address) = (buffer.size(), self.align, buffer.address());
        // If the work is not over now, it has not been since the buffer was given to it.
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
        (self.lane, self.work.queue())
    }
}

impl Deref for Sight<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl Drop for Sight<'_> {
    fn drop(&mut self) {
        // Still pinned.
        self.oracle.out_of_sight(&self.buffer, self.work);
    }
}

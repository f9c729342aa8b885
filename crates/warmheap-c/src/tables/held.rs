//! What the handle of a buffer stands for: a buffer that stays where it is, or one that compaction may move.

use std::sync::Arc;

use warmheap::device::sim::SimQueue;
use warmheap::{AllocError, Buffer, MovableBuffer, Pool, PoolQueue, Request, Ticket};
use warmheap_trace::{Recorded, Recorder};

use crate::status::Failure;

/// A buffer of the library.
pub(crate) enum Held {
    Fixed(Fixed),
    Movable(Movable),
}

/// A buffer that stays where it is.
pub(crate) enum Fixed {
    Plain(Buffer),
    Recorded(Recorded),
}

/// A movable buffer, and what keeps it in its place.
pub(crate) struct Movable {
    buffer: Moving,
    pins: Option<Pins>,
}

enum Moving {
    Plain(MovableBuffer),
    Recorded(Recorded<MovableBuffer>),
}

impl Held {
    /// Allocates from `pool` as `asked`, and records that if a recorder is given.
    pub(crate) fn from_pool(
        pool: &Pool,
        recorder: Option<&Recorder>,
        request: Request,
        movable: bool,
    ) -> Result<Self, AllocError> {
        Ok(match (recorder, movable) {
            (None, false) => Self::Fixed(Fixed::Plain(pool.allocate(request)?)),
            (Some(recorder), false) => Self::Fixed(Fixed::Recorded(recorder.allocate(request)?)),
            (None, true) => Self::movable(Moving::Plain(pool.allocate_movable(request)?)),
            (Some(recorder), true) => Self::movable(Moving::Recorded(recorder.allocate_movable(request)?)),
        })
    }

    /// Allocates from a queue of the pool.
    pub(crate) fn from_queue(
        queue: &PoolQueue,
        recorder: Option<&Recorder>,
        request: Request,
    ) -> Result<Self, AllocError> {
        Ok(Self::Fixed(match recorder {
            None => Fixed::Plain(queue.allocate(request)?),
            Some(recorder) => Fixed::Recorded(recorder.allocate_on(queue, request)?),
        }))
    }

    fn movable(buffer: Moving) -> Self {
        Self::Movable(Movable { buffer, pins: None })
    }

    pub(crate) fn retire(self, ticket: &Ticket) {
        match self {
            Self::Fixed(Fixed::Plain(buffer)) => buffer.retire(ticket),
            Self::Fixed(Fixed::Recorded(buffer)) => buffer.retire(ticket),
            Self::Movable(Movable { buffer: Moving::Plain(buffer), .. }) => buffer.retire(ticket),
            Self::Movable(Movable { buffer: Moving::Recorded(buffer), .. }) => buffer.retire(ticket),
        }
    }
}

impl Fixed {
    pub(crate) fn buffer(&self) -> &Buffer {
        match self {
            Self::Plain(buffer) => buffer,
            Self::Recorded(buffer) => buffer,
        }
    }

    pub(crate) fn grow(&mut self, size: u64) -> Result<(), AllocError> {
        match self {
            Self::Plain(buffer) => buffer.grow(size),
            Self::Recorded(buffer) => buffer.grow(size),
        }
    }

    /// Returns the old buffer if this one moved.
    pub(crate) fn grow_or_move(&mut self, request: Request) -> Result<Option<Self>, AllocError> {
        Ok(match self {
            Self::Plain(buffer) => buffer.grow_or_move(request)?.map(Self::Plain),
            Self::Recorded(buffer) => buffer.grow_or_move(request)?.map(Self::Recorded),
        })
    }
}

/// The pins of a buffer. Any thread may begin and end them.
struct Pins {
    count: u64,
    _keeper: Keeper,
}

/// What keeps a buffer in its place. To the pool it is work in flight, which ends with the last pin.
pub(crate) struct Keeper {
    order: Option<Arc<SimQueue>>,
    ticket: Option<Ticket>,
}

impl Keeper {
    /// Keeps a buffer of `pool`: work on a queue of its own.
    pub(crate) fn of(pool: &Pool) -> Self {
        let order = Arc::new(SimQueue::new());
        let ticket = pool.queue(order.clone()).ticket(order.submit());
        Self { order: Some(order), ticket: Some(ticket) }
    }

    /// Keeps a buffer of a closed pool for good: work that `queue`, which may hold the pool open, never
    /// completes. Without such a queue nothing moves.
    pub(crate) fn of_closed(queue: Option<&PoolQueue>) -> Self {
        Self { order: None, ticket: queue.map(|queue| queue.ticket(u64::MAX)) }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(order) = &self.order {
            order.complete_all();
        }
    }
}

impl Movable {
    pub(crate) fn buffer(&self) -> &MovableBuffer {
        match &self.buffer {
            Moving::Plain(buffer) => buffer,
            Moving::Recorded(buffer) => buffer,
        }
    }

    /// Keeps the buffer in its place until as many calls of [`Movable::unpin`] follow.
    pub(crate) fn pin(&mut self, keeper: Option<Keeper>) {
        if let Some(pins) = &mut self.pins {
            pins.count += 1;
        } else if let Some(keeper) = keeper {
            // While this pin lives, no move begins before the pool knows of the work.
            let here = self.buffer().pin();
            keeper.ticket.iter().for_each(|ticket| self.buffer().in_flight_until(ticket));
            drop(here);
            self.pins = Some(Pins { count: 1, _keeper: keeper });
        }
    }

    pub(crate) fn unpin(&mut self) -> Result<(), Failure> {
        let Some(pins) = &mut self.pins else {
            return Err(Failure::order("the buffer is not pinned"));
        };
        pins.count -= 1;
        if pins.count == 0 {
            self.pins = None;
        }
        Ok(())
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }
}

//! What the handle of a buffer stands for: a buffer that stays where it is, or one that compaction may move.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

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

/// A movable buffer, and how often the program has pinned it.
pub(crate) struct Movable {
    buffer: Shared,
    pins: u64,
}

/// A movable buffer for a call that may wait for it, and that has let its table go.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Moving>);

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
        Self::Movable(Movable { buffer: Shared(Arc::new(buffer)), pins: 0 })
    }

    /// Retires the buffer, when no other call uses it any more. Its handle is gone, so no new call begins.
    pub(crate) fn retire(self, ticket: &Ticket) {
        match self {
            Self::Fixed(Fixed::Plain(buffer)) => buffer.retire(ticket),
            Self::Fixed(Fixed::Recorded(buffer)) => buffer.retire(ticket),
            Self::Movable(movable) => match movable.buffer.alone() {
                Moving::Plain(buffer) => buffer.retire(ticket),
                Moving::Recorded(buffer) => buffer.retire(ticket),
            },
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

impl Movable {
    pub(crate) fn share(&self) -> Shared {
        self.buffer.clone()
    }

    /// Counts a pin, for which the caller holds the buffer.
    pub(crate) fn pin(&mut self) {
        self.pins += 1;
    }

    /// Ends a pin and its hold. Any thread may call it.
    pub(crate) fn unpin(&mut self) -> Result<(), Failure> {
        let left = self.pins.checked_sub(1).ok_or_else(|| Failure::order("the buffer is not pinned"))?;
        self.pins = left;
        self.buffer.buffer().release();
        Ok(())
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.pins > 0
    }
}

impl Shared {
    pub(crate) fn buffer(&self) -> &MovableBuffer {
        match &*self.0 {
            Moving::Plain(buffer) => buffer,
            Moving::Recorded(buffer) => buffer,
        }
    }

    /// Waits for the calls that use the buffer: at most as long as it takes to move it.
    fn alone(self) -> Moving {
        let mut shared = self.0;
        loop {
            match Arc::try_unwrap(shared) {
                Ok(buffer) => return buffer,
                Err(used) => shared = used,
            }
            thread::sleep(Duration::from_micros(50));
        }
    }
}

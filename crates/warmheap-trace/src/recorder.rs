//! Records the requests of a program to a pool.
//!
//! A recorder wraps a pool and the buffers that the pool hands out, so that it sees their growth and their
//! frees. The pool does not know the recorder. A buffer can do what it could do without.

use std::ops::Deref;

use crate::error::TraceError;
use crate::recording::{Lifetime, Recording};
use crate::writer::TraceWriter;
use warmheap::{AllocError, Buffer, Pool, PoolQueue, Request, Ticket};

/// A pool whose allocations and frees are written to a trace. A clone is cheap and shares the trace. Any
/// thread may use it.
#[derive(Debug, Clone)]
pub struct Recorder {
    pool: Pool,
    recording: Recording,
}

/// A buffer whose growth and free the recorder will write.
#[derive(Debug)]
pub struct Recorded {
    // This field is dropped first, so that the free is written before the pool gets the buffer back.
    life: Lifetime,
    buffer: Buffer,
}

impl Recorder {
    /// Starts to record the requests to `pool` with `writer`.
    #[must_use]
    pub fn new(pool: Pool, writer: TraceWriter) -> Self {
        Self { pool, recording: Recording::start(writer) }
    }

    /// Returns the wrapped pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Allocates from the pool and records the success or the failure.
    ///
    /// # Errors
    /// Returns the pool's error. A failure to write the trace never fails an allocation; see
    /// [`Recorder::finish`].
    #[track_caller]
    pub fn allocate(&self, request: impl Into<Request>) -> Result<Recorded, AllocError> {
        let request = request.into();
        self.recorded(request.bytes(), 0, self.pool.allocate(request))
    }

    /// Allocates from a queue of the pool, as [`PoolQueue::allocate`] does, and records `stream` as its
    /// number.
    ///
    /// # Errors
    /// As [`Recorder::allocate`].
    #[track_caller]
    pub fn allocate_on(
        &self,
        queue: &PoolQueue,
        stream: u64,
        request: impl Into<Request>,
    ) -> Result<Recorded, AllocError> {
        let request = request.into();
        self.recorded(request.bytes(), stream, queue.allocate(request))
    }

    fn recorded(
        &self,
        size: u64,
        stream: u64,
        result: Result<Buffer, AllocError>,
    ) -> Result<Recorded, AllocError> {
        match result {
            Ok(buffer) => {
                let life = self.recording.allocated(buffer.device_address(), size, stream);
                Ok(Recorded { life, buffer })
            }
            // The program will ask again.
            Err(AllocError::WouldBlock) => Err(AllocError::WouldBlock),
            Err(error) => {
                self.recording.refused(size, stream);
                Err(error)
            }
        }
    }

    /// Ends the trace and returns its number of events. The trace has no free of the buffers that are still
    /// alive. Nothing that clones of this recorder do later is recorded.
    ///
    /// # Errors
    /// Returns the first failure to write since the start. The file then ends before that event.
    pub fn finish(self) -> Result<u64, TraceError> {
        self.recording.finish()
    }
}

impl Recorded {
    /// Grows the buffer in place, as [`Buffer::grow`] does, and records its new size.
    ///
    /// # Errors
    /// As [`Buffer::grow`].
    pub fn grow(&mut self, size: u64) -> Result<(), AllocError> {
        self.buffer.grow(size)?;
        self.life.grown(self.buffer.size());
        Ok(())
    }

    /// Grows the buffer in place or by a move, as [`Buffer::grow_or_move`] does, and records it. Returns the
    /// old buffer if it moved.
    ///
    /// # Errors
    /// As [`Buffer::grow_or_move`].
    #[track_caller]
    pub fn grow_or_move(&mut self, request: impl Into<Request>) -> Result<Option<Self>, AllocError> {
        let Some(left) = self.buffer.grow_or_move(request)? else {
            self.life.grown(self.buffer.size());
            return Ok(None);
        };
        let life = self.life.moved(self.buffer.device_address(), self.buffer.size());
        Ok(Some(Self { life, buffer: left }))
    }

    /// Retires the buffer as [`Buffer::retire`] does. The free is recorded now, on no stream.
    pub fn retire(self, ticket: &Ticket) {
        self.retire_on(ticket, 0);
    }

    /// Retires the buffer as [`Buffer::retire`] does. The free is recorded now, in the order of `stream`:
    /// the number of the ticket's queue.
    pub fn retire_on(self, ticket: &Ticket, stream: u64) {
        let Self { life, buffer } = self;
        life.retired(stream);
        buffer.retire(ticket);
    }
}

impl Deref for Recorded {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

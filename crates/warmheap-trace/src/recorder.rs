//! Records the requests of a program to a pool.
//!
//! A recorder wraps a pool and the buffers that the pool hands out, so that it sees how they grow and when
//! they are freed. The pool does not know the recorder. The file has an order that happened: the recorder
//! writes an allocation after the pool served it, and a free before the pool gets the buffer back. A pointer
//! therefore never appears live twice. A recorder never changes what a buffer can do.

mod log;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::log::Log;
use crate::error::TraceError;
use crate::event::Action;
use crate::writer::TraceWriter;
use warmheap::{AllocError, Buffer, MovableBuffer, Pool, PoolQueue, Request, Ticket};

/// A pool whose allocations and frees are written to a trace. A clone is cheap and shares the trace. Any
/// thread may use it.
#[derive(Debug, Clone)]
pub struct Recorder {
    pool: Pool,
    log: Arc<Log>,
}

/// A buffer whose growth and free the recorder will write. It can do what the buffer can do.
#[derive(Debug)]
pub struct Recorded<T = Buffer> {
    // This field is dropped first, so that the free is written before the pool gets the buffer back.
    life: Life,
    buffer: T,
}

/// Records a free when it is dropped.
#[derive(Debug)]
struct Life {
    log: Arc<Log>,
    /// `None` once the free is in the hands of the log.
    range: Option<Range>,
}

/// What the trace has to say of a buffer.
#[derive(Debug, Clone, Copy)]
struct Range {
    pointer: u64,
    size: u64,
    stream: u64,
}

/// The stream of buffers that belong to no queue.
const NO_QUEUE: u64 = 0;

/// The pointers of movable buffers have this bit, and no address has it. A movable buffer has no address of
/// its own for long, so its pointer is a number.
const MOVABLE: u64 = 1 << 63;

impl Recorder {
    /// Starts to record the requests to `pool` with `writer`.
    #[must_use]
    pub fn new(pool: Pool, writer: TraceWriter) -> Self {
        Self { pool, log: Arc::new(Log::new(writer)) }
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
        self.record(request.bytes(), NO_QUEUE, self.pool.allocate(request), Buffer::device_address)
    }

    /// Allocates for work of a queue, as [`PoolQueue::allocate`] does, and records it with the queue's number
    /// as the stream. `queue` is of this recorder's pool.
    ///
    /// # Errors
    /// As [`Recorder::allocate`].
    #[track_caller]
    pub fn allocate_on(
        &self,
        queue: &PoolQueue,
        request: impl Into<Request>,
    ) -> Result<Recorded, AllocError> {
        let request = request.into();
        let served = queue.allocate(request);
        self.record(request.bytes(), queue.number(), served, Buffer::device_address)
    }

    /// Allocates a movable buffer from the pool and records it. Its pointer in the trace is a number of its
    /// own, because its address changes.
    ///
    /// # Errors
    /// As [`Recorder::allocate`].
    #[track_caller]
    pub fn allocate_movable(
        &self,
        request: impl Into<Request>,
    ) -> Result<Recorded<MovableBuffer>, AllocError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let request = request.into();
        let served = self.pool.allocate_movable(request);
        self.record(request.bytes(), NO_QUEUE, served, |_| MOVABLE | NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn record<T>(
        &self,
        size: u64,
        stream: u64,
        served: Result<T, AllocError>,
        pointer: impl FnOnce(&T) -> u64,
    ) -> Result<Recorded<T>, AllocError> {
        match served {
            Ok(buffer) => {
                let range = Range { pointer: pointer(&buffer), size, stream };
                let log = Arc::clone(&self.log);
                log.add([(Action::Allocate, range)]);
                Ok(Recorded { life: Life { log, range: Some(range) }, buffer })
            }
            // The program will ask again.
            Err(AllocError::WouldBlock) => Err(AllocError::WouldBlock),
            Err(error) => {
                self.log.add([(Action::AllocateFailure, Range { pointer: 0, size, stream })]);
                Err(error)
            }
        }
    }

    /// Ends the trace and returns its number of events. The trace has no free of the buffers that are still
    /// alive or in flight. Nothing that clones of this recorder do later is recorded.
    ///
    /// # Errors
    /// Returns the first failure to write since the start. The file then ends before that event.
    pub fn finish(self) -> Result<u64, TraceError> {
        self.log.finish()
    }
}

impl Recorded {
    /// Grows the buffer as [`Buffer::grow`] does. The trace gets a free of the old size and an allocation of
    /// the new one, with the same pointer.
    ///
    /// # Errors
    /// As [`Buffer::grow`].
    pub fn grow(&mut self, size: u64) -> Result<(), AllocError> {
        let before = self.buffer.size();
        self.buffer.grow(size)?;
        if size > before {
            self.life.grow(size);
        }
        Ok(())
    }

    /// Grows the buffer as [`Buffer::grow_or_move`] does. If it moves, the trace gets the allocation of the
    /// new place; the old buffer, which this returns, is recorded until it is freed or retired.
    ///
    /// # Errors
    /// As [`Buffer::grow_or_move`].
    #[track_caller]
    pub fn grow_or_move(&mut self, request: impl Into<Request>) -> Result<Option<Self>, AllocError> {
        let request = request.into();
        let before = self.buffer.size();
        let behind = self.buffer.grow_or_move(request)?;
        let size = self.buffer.size();
        let Some(buffer) = behind else {
            if size > before {
                self.life.grow(size);
            }
            return Ok(None);
        };
        let stream = self.life.range.map_or(NO_QUEUE, |range| range.stream);
        let range = Range { pointer: self.buffer.device_address(), size, stream };
        self.life.log.add([(Action::Allocate, range)]);
        let moved = Life { log: Arc::clone(&self.life.log), range: Some(range) };
        Ok(Some(Self { life: std::mem::replace(&mut self.life, moved), buffer }))
    }

    /// Retires the buffer as [`Buffer::retire`] does. The free is recorded with the queue's number as the
    /// stream, once the work is done or the queue uses the memory again: at the next event from then on.
    pub fn retire(mut self, ticket: &Ticket) {
        self.life.retire(ticket);
        self.buffer.retire(ticket);
    }
}

impl Recorded<MovableBuffer> {
    /// Retires the buffer as [`MovableBuffer::retire`] does, and records it as [`Recorded::retire`] of a
    /// buffer does.
    pub fn retire(mut self, ticket: &Ticket) {
        self.life.retire(ticket);
        self.buffer.retire(ticket);
    }

    /// Converts into a buffer that does not move any more, as [`MovableBuffer::into_buffer`] does.
    #[must_use]
    pub fn into_buffer(self) -> Recorded {
        Recorded { life: self.life, buffer: self.buffer.into_buffer() }
    }
}

impl<T> Deref for Recorded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.buffer
    }
}

impl Life {
    fn grow(&mut self, size: u64) {
        if let Some(range) = &mut self.range {
            let grown = Range { size, ..*range };
            self.log.add([(Action::Free, *range), (Action::Allocate, grown)]);
            *range = grown;
        }
    }

    fn retire(&mut self, ticket: &Ticket) {
        if let Some(range) = self.range.take() {
            self.log.retire(Range { stream: ticket.queue_number(), ..range }, ticket);
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(range) = self.range.take() {
            self.log.add([(Action::Free, range)]);
        }
    }
}

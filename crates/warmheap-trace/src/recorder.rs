//! Recording what a program asks of a pool.
//!
//! A recorder stands in front of a pool and hands out its buffers wrapped, so that their frees are
//! seen. The pool does not know that it is watched. Order in the file is an order that happened:
//! an allocation is written after the pool gave it, a free before the pool gets it back, so an
//! address never appears live twice.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::TraceError;
use crate::event::{Action, Event};
use crate::writer::TraceWriter;
use warmheap::{AllocError, Buffer, Pool, Request, Site, Ticket};

/// A pool whose allocations and frees are written to a trace. Cheap to clone; usable from any
/// thread.
#[derive(Debug, Clone)]
pub struct Recorder {
    pool: Pool,
    log: Arc<Log>,
}

/// A pool's buffer whose free will be recorded.
#[derive(Debug)]
pub struct Recorded {
    // Dropped first: the free is written before the pool has the buffer back.
    life: Life,
    buffer: Buffer,
}

/// Records a free when it ends.
#[derive(Debug)]
struct Life {
    log: Arc<Log>,
    address: u64,
    size: u64,
}

#[derive(Debug)]
struct Log {
    started: Instant,
    /// `None` once finished.
    writer: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    writer: TraceWriter,
    events: u64,
    /// The first failure; recording stopped there.
    failed: Option<TraceError>,
}

impl Recorder {
    /// Records what is asked of `pool` into `writer`, from now.
    #[must_use]
    pub fn new(pool: Pool, writer: TraceWriter) -> Self {
        let state = State { writer, events: 0, failed: None };
        Self { pool, log: Arc::new(Log { started: Instant::now(), writer: Mutex::new(Some(state)) }) }
    }

    /// The pool behind.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Allocates from the pool, and records that it did or could not.
    ///
    /// # Errors
    /// The pool's. A trace that cannot be written never fails an allocation; see
    /// [`Recorder::finish`].
    #[track_caller]
    pub fn allocate(&self, request: impl Into<Request>) -> Result<Recorded, AllocError> {
        self.allocate_at(request, Site::caller())
    }

    /// As [`Recorder::allocate`], with the place to keep for leak reports.
    ///
    /// # Errors
    /// As [`Recorder::allocate`].
    pub fn allocate_at(
        &self,
        request: impl Into<Request>,
        site: impl Into<Site>,
    ) -> Result<Recorded, AllocError> {
        let request = request.into();
        self.record(request.bytes(), self.pool.allocate_at(request, site))
    }

    /// As [`Recorder::allocate_at`], but never straight from the device: see
    /// [`Pool::try_allocate`].
    ///
    /// # Errors
    /// As [`Recorder::allocate`].
    pub fn try_allocate_at(
        &self,
        request: impl Into<Request>,
        site: impl Into<Site>,
    ) -> Result<Recorded, AllocError> {
        let request = request.into();
        self.record(request.bytes(), self.pool.try_allocate_at(request, site))
    }

    fn record(&self, size: u64, answer: Result<Buffer, AllocError>) -> Result<Recorded, AllocError> {
        match answer {
            Ok(buffer) => {
                let address = buffer.address();
                self.log.add(Action::Allocate, address, size);
                Ok(Recorded { life: Life { log: Arc::clone(&self.log), address, size }, buffer })
            }
            Err(error) => {
                self.log.add(Action::AllocateFailure, 0, size);
                Err(error)
            }
        }
    }

    /// Ends the trace and says how many events it has. Buffers alive now are never freed in it,
    /// and what clones of this recorder do from now on is not recorded.
    ///
    /// # Errors
    /// The first failure to write since the start; the file then ends before that event.
    pub fn finish(self) -> Result<u64, TraceError> {
        let Some(state) = self.log.lock().take() else {
            return Ok(0);
        };
        match state.failed {
            Some(error) => Err(error),
            None => state.writer.finish().map(|()| state.events),
        }
    }
}

impl Log {
    fn add(&self, action: Action, pointer: u64, size: u64) {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut().filter(|s| s.failed.is_none()) else {
            return;
        };
        let event =
            Event { thread: thread_number(), time: self.started.elapsed(), action, pointer, size, stream: 0 };
        match state.writer.write(&event) {
            Ok(()) => state.events += 1,
            Err(error) => state.failed = Some(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        // A panic elsewhere left at worst a line too few; recording goes on.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A small number for the calling thread.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.try_with(|n| *n).unwrap_or(u64::MAX)
}

impl Recorded {
    /// As [`Buffer::retire`]; the free is recorded now.
    pub fn retire(self, ticket: &Ticket) {
        let Self { life, buffer } = self;
        drop(life);
        buffer.retire(ticket);
    }
}

impl Deref for Recorded {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.log.add(Action::Free, self.address, self.size);
    }
}

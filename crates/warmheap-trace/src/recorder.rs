//! Records the requests of a program to a pool.
//!
//! A recorder wraps a pool and the buffers that the pool hands out, so that it sees their frees. The pool
//! does not know the recorder. The file has an order that happened: the recorder writes an allocation after
//! the pool served it, and a free before the pool gets the buffer back. An address therefore never appears
//! live twice.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::TraceError;
use crate::event::{Action, Event};
use crate::writer::TraceWriter;
use warmheap::{AllocError, Buffer, Pool, Request, Ticket};

/// A pool whose allocations and frees are written to a trace. A clone is cheap and shares the trace. Any
/// thread may use it.
#[derive(Debug, Clone)]
pub struct Recorder {
    pool: Pool,
    log: Arc<Log>,
}

/// A buffer whose free the recorder will write.
#[derive(Debug)]
pub struct Recorded {
    // This field is dropped first, so that the free is written before the pool gets the buffer back.
    life: Life,
    buffer: Buffer,
}

/// Records a free when it is dropped.
#[derive(Debug)]
struct Life {
    log: Arc<Log>,
    address: u64,
    size: u64,
}

#[derive(Debug)]
struct Log {
    started: Instant,
    /// The writer; `None` once the recording is finished.
    writer: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    writer: TraceWriter,
    events: u64,
    /// The first failure. The recording stopped there.
    failed: Option<TraceError>,
}

impl Recorder {
    /// Starts to record the requests to `pool` with `writer`.
    #[must_use]
    pub fn new(pool: Pool, writer: TraceWriter) -> Self {
        let state = State { writer, events: 0, failed: None };
        Self { pool, log: Arc::new(Log { started: Instant::now(), writer: Mutex::new(Some(state)) }) }
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
        let size = request.bytes();
        match self.pool.allocate(request) {
            Ok(buffer) => {
                let address = buffer.device_address();
                self.log.add(Action::Allocate, address, size);
                Ok(Recorded { life: Life { log: Arc::clone(&self.log), address, size }, buffer })
            }
            // The program will ask again.
            Err(AllocError::WouldBlock) => Err(AllocError::WouldBlock),
            Err(error) => {
                self.log.add(Action::AllocateFailure, 0, size);
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
        // A panic of another thread has lost one line at worst, so the recording goes on.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a small number that identifies the calling thread.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.try_with(|n| *n).unwrap_or(u64::MAX)
}

impl Recorded {
    /// Retires the buffer as [`Buffer::retire`] does. The free is recorded now.
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

//! What a program did with the memory of a pool, written as a trace while it happens.
//!
//! A recording owns the file and the order of its lines. The caller writes an allocation after the pool
//! served it, and a free before the pool gets the buffer back, so that an address never appears live twice.
//! The recording never looks at a pool, and a failure to write never reaches the program's requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::TraceError;
use crate::event::{Action, Event};
use crate::writer::TraceWriter;

/// A trace that is being written. Clones write to the same trace. Any thread may use it.
///
/// Bindings that hold buffers in their own way use this. Programs in Rust use a
/// [`Recorder`](crate::Recorder), which calls it for them.
#[derive(Debug, Clone)]
pub struct Recording(Arc<Log>);

/// A buffer in a recording. Dropping it writes the free.
#[derive(Debug)]
pub struct Lifetime {
    recording: Recording,
    address: u64,
    size: u64,
    stream: u64,
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

/// An event without its thread and time.
type Line = (Action, u64, u64, u64);

impl Recording {
    /// Starts to record with `writer`.
    #[must_use]
    pub fn start(writer: TraceWriter) -> Self {
        let state = State { writer, events: 0, failed: None };
        Self(Arc::new(Log { started: Instant::now(), writer: Mutex::new(Some(state)) }))
    }

    /// Writes that the pool served a request of `size` bytes with the memory at `address`, for work on
    /// `stream`; 0 is no stream.
    #[must_use]
    pub fn allocated(&self, address: u64, size: u64, stream: u64) -> Lifetime {
        self.add(&[(Action::Allocate, address, size, stream)]);
        Lifetime { recording: self.clone(), address, size, stream }
    }

    /// Writes that the pool could not serve a request of `size` bytes.
    pub fn refused(&self, size: u64, stream: u64) {
        self.add(&[(Action::AllocateFailure, 0, size, stream)]);
    }

    /// Ends the trace and returns its number of events. The trace has no free of the buffers that are still
    /// alive. Nothing that clones do later is recorded.
    ///
    /// # Errors
    /// Returns the first failure to write since the start. The file then ends before that event.
    pub fn finish(self) -> Result<u64, TraceError> {
        let Some(state) = self.lock().take() else {
            return Ok(0);
        };
        match state.failed {
            Some(error) => Err(error),
            None => state.writer.finish().map(|()| state.events),
        }
    }

    /// Writes lines with no line of another thread between them.
    fn add(&self, lines: &[Line]) {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return };
        for &(action, pointer, size, stream) in lines {
            let (thread, time) = (thread_number(), self.0.started.elapsed());
            if state.failed.is_none() {
                match state.writer.write(&Event { thread, time, action, pointer, size, stream }) {
                    Ok(()) => state.events += 1,
                    Err(error) => state.failed = Some(error),
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        // A panic of another thread has lost one line at worst, so the recording goes on.
        self.0.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lifetime {
    /// Writes that the buffer has `size` bytes where it is. A trace has no word for that: it has a free and
    /// an allocation at the same address, with nothing between them.
    pub fn grown(&mut self, size: u64) {
        let Self { recording, address, size: old, stream } = self;
        if size != *old {
            let lines =
                [(Action::Free, *address, *old, *stream), (Action::Allocate, *address, size, *stream)];
            recording.add(&lines);
            *old = size;
        }
    }

    /// Writes that the buffer has `size` bytes at another address. Returns the lifetime of the old place.
    #[must_use]
    pub fn moved(&mut self, address: u64, size: u64) -> Self {
        let moved = self.recording.allocated(address, size, self.stream);
        std::mem::replace(self, moved)
    }

    /// Writes the free in the order of `stream`: the memory is free once the work before has completed.
    pub fn retired(mut self, stream: u64) {
        self.stream = stream;
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        self.recording.add(&[(Action::Free, self.address, self.size, self.stream)]);
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

//! The file of a recording, and the frees that wait for work in flight.
//!
//! A retired buffer is alive until its queue has done the work, or until the queue itself gets the memory
//! again. The log cannot see either moment. It writes such a free before the next event, if the work is done
//! by then, and before an allocation that has the same pointer.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::Range;
use crate::error::TraceError;
use crate::event::{Action, Event};
use crate::writer::TraceWriter;
use warmheap::Ticket;

#[derive(Debug)]
pub(super) struct Log {
    started: Instant,
    /// The writer; `None` once the recording is finished.
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    writer: TraceWriter,
    events: u64,
    retired: Retired,
    /// The first failure. The recording stopped there.
    failed: Option<TraceError>,
}

/// The retired buffers whose free is not written yet. As in the pool, those of a queue become free in the
/// order in which they were retired.
#[derive(Debug, Default)]
struct Retired {
    by_pointer: HashMap<u64, Waiting>,
    /// The pointers of each queue, by its number. A pointer may have been reused meanwhile.
    queues: HashMap<u64, VecDeque<(u64, u64, Ticket)>>,
    /// The number of buffers that were ever retired.
    count: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    range: Range,
    /// The thread that retired it.
    thread: u64,
    /// Which retired buffer this is, because a pointer may be retired again.
    number: u64,
}

impl Log {
    pub(super) fn new(writer: TraceWriter) -> Self {
        let state = State { writer, events: 0, retired: Retired::default(), failed: None };
        Self { started: Instant::now(), state: Mutex::new(Some(state)) }
    }

    /// Writes events of the calling thread, with none of other threads between them.
    pub(super) fn add<const N: usize>(&self, events: [(Action, Range); N]) {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return };
        state.free_completed(self.started);
        for (action, range) in events {
            if action == Action::Allocate {
                state.free_reused(range.pointer, self.started);
            }
            state.write(self.started, thread_number(), action, range);
        }
    }

    /// Notes that `range` is free once the ticket's work is done.
    pub(super) fn retire(&self, range: Range, ticket: &Ticket) {
        let mut guard = self.lock();
        let Some(state) = guard.as_mut() else { return };
        state.retired.add(range, ticket);
        state.free_completed(self.started);
    }

    pub(super) fn finish(&self) -> Result<u64, TraceError> {
        let Some(mut state) = self.lock().take() else {
            return Ok(0);
        };
        state.free_completed(self.started);
        match state.failed {
            Some(error) => Err(error),
            None => state.writer.finish().map(|()| state.events),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        // A panic of another thread has lost one line at worst, so the recording goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes the frees of the retired buffers whose work is done.
    fn free_completed(&mut self, started: Instant) {
        while let Some(Waiting { range, thread, .. }) = self.retired.next_completed() {
            self.write(started, thread, Action::Free, range);
        }
    }

    /// Writes the free of a retired buffer whose memory its queue has got again.
    fn free_reused(&mut self, pointer: u64, started: Instant) {
        if let Some(Waiting { range, thread, .. }) = self.retired.by_pointer.remove(&pointer) {
            self.write(started, thread, Action::Free, range);
        }
    }

    fn write(&mut self, started: Instant, thread: u64, action: Action, range: Range) {
        if self.failed.is_some() {
            return;
        }
        let Range { pointer, size, stream } = range;
        let event = Event { thread, time: started.elapsed(), action, pointer, size, stream };
        match self.writer.write(&event) {
            Ok(()) => self.events += 1,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl Retired {
    fn add(&mut self, range: Range, ticket: &Ticket) {
        self.count += 1;
        let waiting = Waiting { range, thread: thread_number(), number: self.count };
        self.by_pointer.insert(range.pointer, waiting);
        let queue = self.queues.entry(range.stream).or_default();
        queue.push_back((range.pointer, self.count, ticket.clone()));
    }

    /// Takes out a buffer whose work is done.
    fn next_completed(&mut self) -> Option<Waiting> {
        for queue in self.queues.values_mut() {
            while let Some((pointer, number, ticket)) = queue.front() {
                let waits = self.by_pointer.get(pointer).is_some_and(|waiting| waiting.number == *number);
                if waits && !ticket.is_complete() {
                    break;
                }
                let pointer = *pointer;
                queue.pop_front();
                if waits {
                    return self.by_pointer.remove(&pointer);
                }
            }
        }
        self.queues.retain(|_, queue| !queue.is_empty());
        None
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

//! A bound on what is in flight: places that callers take before they submit work, and that come free when
//! the work is done.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use warmheap::device::{DeviceError, Queue};

use crate::interpreter::wait::{PATIENCE, look_for_signals};

/// The time between two looks at places that can come free in more than one way.
const STEP: Duration = Duration::from_millis(1);

/// The places of a ring.
#[derive(Debug)]
pub(crate) struct Ring {
    size: usize,
    counts: bool,
    logs: bool,
    /// The lock is held for moments. No Python code runs meanwhile, and no queue is dropped.
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug)]
struct State {
    /// Places that callers have taken and not released.
    held: usize,
    /// The work of released places, in the order of the releases.
    in_flight: Vec<Position>,
    figures: Figures,
    since: Instant,
}

/// A queue and a position in its order.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) value: u64,
}

impl Position {
    /// Whether the work may still run. A lost queue runs nothing; after any other error nothing is known.
    fn is_busy(&self) -> bool {
        match self.queue.completed() {
            Ok(completed) => completed < self.value,
            Err(error) => !matches!(error, DeviceError::Lost { .. }),
        }
    }
}

/// What a ring counts.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) acquired: u64,
    pub(crate) released: u64,
    /// The calls that had to wait, their time, and the longest.
    pub(crate) waits: u64,
    pub(crate) waited: Duration,
    pub(crate) longest: Duration,
    pub(crate) timeouts: u64,
    /// The time between taking places and releasing them.
    pub(crate) held_time: Duration,
}

/// The figures with the ring as it is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) figures: Figures,
    pub(crate) size: usize,
    pub(crate) in_use: usize,
    pub(crate) since: Duration,
}

impl Ring {
    pub(crate) fn new(size: usize, counts: bool, logs: bool) -> Self {
        let state =
            State { held: 0, in_flight: Vec::new(), figures: Figures::default(), since: Instant::now() };
        Self { size, counts, logs, state: Mutex::new(state), released: Condvar::new() }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Takes a place, and waits for one for at most `timeout`. Returns whether there was one. A signal whose
    /// handler raises ends the wait, too.
    pub(crate) fn acquire(&self, timeout: Option<Duration>) -> bool {
        let begun = Instant::now();
        let mut was_full = false;
        loop {
            self.sweep();
            let mut state = self.state();
            if state.in_use() < self.size {
                state.held += 1;
                let waited = was_full.then(|| begun.elapsed());
                if self.counts {
                    state.figures.acquired += 1;
                    state.figures.count_wait(waited);
                }
                drop(state);
                if let Some(waited) = waited.filter(|_| self.logs) {
                    tracing::info!(us = waited.as_micros() as u64, "waited for a command buffer");
                }
                return true;
            }
            let passed = begun.elapsed();
            was_full = true;
            if timeout.is_some_and(|timeout| passed >= timeout) {
                if self.counts {
                    state.figures.timeouts += 1;
                    state.figures.count_wait(Some(passed));
                }
                return false;
            }
            let left = timeout.map_or(PATIENCE, |timeout| timeout - passed).min(PATIENCE);
            self.wait_for_one(state, left);
            if look_for_signals() {
                return false;
            }
        }
    }

    /// Releases a place that was taken `held_for` ago. It comes free when `work` is done, or now.
    pub(crate) fn release(&self, work: Option<Position>, held_for: Duration) {
        let mut state = self.state();
        state.held -= 1;
        state.in_flight.extend(work);
        if self.counts {
            state.figures.released += 1;
            state.figures.held_time += held_for;
        }
        self.released.notify_all();
    }

    /// Waits until the work of all released places is done, or a signal's handler raises.
    pub(crate) fn wait_for_all(&self) {
        loop {
            self.sweep();
            let state = self.state();
            if state.in_flight.is_empty() {
                return;
            }
            self.wait_for_one(state, PATIENCE);
            if look_for_signals() {
                return;
            }
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.sweep();
        let state = self.state();
        Snapshot {
            figures: state.figures,
            size: self.size,
            in_use: state.in_use(),
            since: state.since.elapsed(),
        }
    }

    pub(crate) fn reset(&self) {
        let mut state = self.state();
        state.figures = Figures::default();
        state.since = Instant::now();
    }

    /// Frees the places whose work is done.
    fn sweep(&self) {
        let done: Vec<_> = self.state().in_flight.extract_if(.., |work| !work.is_busy()).collect();
        // The end of a queue may wait for its device.
        drop(done);
    }

    /// Waits for at most `left`, or until a place may be free.
    fn wait_for_one(&self, state: MutexGuard<'_, State>, left: Duration) {
        // Only the ring's own releases and the next work of one queue wake a caller. Other work is looked at in
        // steps.
        let of_one_queue = state.in_flight.iter().filter(|work| state.is_of(work));
        let next = of_one_queue.min_by_key(|work| work.value).cloned();
        let alone = state.held == 0 && state.in_flight.iter().all(|work| state.is_of(work));
        let step = if alone || next.is_none() { left } else { left.min(STEP) };
        if let Some(work) = next {
            drop(state);
            if work.queue.wait(work.value, step).is_ok() {
                return;
            }
            // The queue cannot wait, so the next look comes after a step.
            std::thread::sleep(step.min(STEP));
        } else {
            let waited = self.released.wait_timeout(state, step);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn in_use(&self) -> usize {
        self.held + self.in_flight.len()
    }

    /// Whether work is of the queue of the oldest.
    fn is_of(&self, work: &Position) -> bool {
        self.in_flight.first().is_some_and(|first| Arc::ptr_eq(&first.queue, &work.queue))
    }
}

impl Figures {
    fn count_wait(&mut self, waited: Option<Duration>) {
        if let Some(waited) = waited {
            self.waits += 1;
            self.waited += waited;
            self.longest = self.longest.max(waited);
        }
    }
}

//! Lets threads start together and hand buffers over.
//!
//! A round lasts milliseconds, so nothing in it may wait for the system. Threads have processors before they
//! start, and none sleeps for another. This file knows no pool. The benchmarks compile it, too, so that they
//! measure as replays do.

use std::cell::Cell;
use std::iter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

/// The buffers of one batch for the completion thread.
pub(super) const BATCH: usize = 64;
/// The most batches that are under way.
const BATCHES: usize = 64;
/// The time that threads are busy before they start. A round may be over before the system has moved them off
/// one processor.
const SETTLING: Duration = Duration::from_millis(20);

/// Lets threads start together and wait for each other, without a system call between the last arrival and
/// the next step. If one of them panics, the others do not wait for it.
pub(super) struct Gate {
    threads: usize,
    settling: Duration,
    /// The time at which the last thread had arrived.
    all_here: OnceLock<Instant>,
    /// The number of arrivals at all meetings so far.
    arrivals: AtomicUsize,
    broken: AtomicBool,
}

/// One of the threads of a gate. If the thread panics, this breaks the gate.
pub(super) struct Member<'a> {
    gate: &'a Gate,
    /// The number of arrivals that completes the thread's last meeting.
    complete: Cell<usize>,
}

impl Gate {
    /// Returns a gate for `threads` threads. `company` says whether any thread works beside another.
    pub(super) fn new(threads: usize, company: bool) -> Self {
        let settling = if company { SETTLING } else { Duration::ZERO };
        Self {
            threads,
            settling,
            all_here: OnceLock::new(),
            arrivals: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    /// Returns the calling thread's member. Each of the gate's threads calls this once.
    pub(super) fn join(&self) -> Member<'_> {
        Member { gate: self, complete: Cell::new(0) }
    }
}

impl Member<'_> {
    /// Starts with the others. Returns `None` if one of them has panicked or left.
    pub(super) fn pass(&self) -> Option<()> {
        self.meet()?;
        let all_here = self.gate.all_here.get_or_init(Instant::now);
        while all_here.elapsed() < self.gate.settling {
            std::hint::spin_loop();
        }
        self.meet().map(drop)
    }

    /// Waits with the others while one of them does `work`. Returns `None` if one of them has panicked or
    /// left.
    pub(super) fn rest(&self, work: impl FnOnce()) -> Option<()> {
        if self.meet()? {
            work();
        }
        self.meet().map(drop)
    }

    /// Ends the round for all threads: those that wait for this one return `None`.
    pub(super) fn leave(&self) {
        self.gate.broken.store(true, Ordering::Relaxed);
    }

    /// Waits until every thread has arrived. Returns whether the calling thread was the last, or `None` if
    /// one of them has panicked or left.
    fn meet(&self) -> Option<bool> {
        let Gate { threads, arrivals, broken, .. } = self.gate;
        let complete = self.complete.get() + threads;
        self.complete.set(complete);
        let last = arrivals.fetch_add(1, Ordering::AcqRel) + 1 == complete;
        while arrivals.load(Ordering::Acquire) < complete {
            if broken.load(Ordering::Relaxed) {
                return None;
            }
            // If there are more threads than processors, the missing threads need this thread's processor.
            thread::yield_now();
        }
        Some(last)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.leave();
        }
    }
}

/// Returns the channel to the completion thread.
pub(super) fn channel<T>() -> (SyncSender<Vec<T>>, Receiver<Vec<T>>) {
    mpsc::sync_channel(BATCHES)
}

/// Hands a batch to the completion thread, or returns it if that thread has died.
pub(super) fn hand_over<T>(completion: &SyncSender<Vec<T>>, mut batch: Vec<T>) -> Result<(), Vec<T>> {
    loop {
        match completion.try_send(batch) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(refused)) => batch = refused,
            Err(TrySendError::Disconnected(refused)) => return Err(refused),
        }
        thread::yield_now();
    }
}

/// Returns the batches that are handed over, until every worker has finished. This thread never sleeps,
/// because the cost of waking it would count as the allocator's.
pub(super) fn batches<T>(workers: Receiver<Vec<T>>) -> impl Iterator<Item = Vec<T>> {
    iter::from_fn(move || {
        loop {
            match workers.try_recv() {
                Ok(batch) => return Some(batch),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => thread::yield_now(),
            }
        }
    })
}

//! Threads at work side by side: how they start together, and hand buffers over.
//!
//! A round lasts milliseconds, so nothing in it may wait for the system: threads have processors before
//! they start, and none sleeps for another. Knows of no pool: the benchmarks compile this file, too, so
//! that they measure as replays do.

use std::cell::Cell;
use std::iter;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

/// Buffers handed to the completion thread at a time, and batches under way at most.
pub(super) const BATCH: usize = 64;
const BATCHES: usize = 64;
/// How long threads are busy before they start. A round may be over before the system has moved
/// them off one processor.
const SETTLING: Duration = Duration::from_millis(20);

/// Lets threads go together and wait for each other, without a system call between the last arrival
/// and the next step. Where one of them panics, the others do not wait for it.
pub(super) struct Gate {
    threads: usize,
    settling: Duration,
    /// When the last thread had come.
    all_here: OnceLock<Instant>,
    /// How often threads have arrived, at all meetings so far.
    arrivals: AtomicUsize,
    broken: AtomicBool,
}

/// One of the threads. If it panics, it breaks the gate.
pub(super) struct Member<'a> {
    gate: &'a Gate,
    /// Arrivals that complete the last meeting it was at.
    complete: Cell<usize>,
}

impl Gate {
    /// For so many threads; `company` says whether any thread is at work beside another.
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

    /// The calling thread, as one of those that the gate is for.
    pub(super) fn join(&self) -> Member<'_> {
        Member { gate: self, complete: Cell::new(0) }
    }
}

impl Member<'_> {
    /// Starts with the others; `None` if one of them has panicked.
    pub(super) fn pass(&self) -> Option<()> {
        self.meet()?;
        let all_here = self.gate.all_here.get_or_init(Instant::now);
        while all_here.elapsed() < self.gate.settling {
            std::hint::spin_loop();
        }
        self.meet().map(drop)
    }

    /// Rests with the others while one of them does something; `None` if one of them has panicked.
    pub(super) fn rest(&self, work: impl FnOnce()) -> Option<()> {
        if self.meet()? {
            work();
        }
        self.meet().map(drop)
    }

    /// Waits until every thread has come here, and says whether the calling one was the last.
    fn meet(&self) -> Option<bool> {
        let Gate { threads, arrivals, broken, .. } = self.gate;
        let complete = self.complete.get() + threads;
        self.complete.set(complete);
        let last = arrivals.fetch_add(1, Ordering::AcqRel) + 1 == complete;
        while arrivals.load(Ordering::Acquire) < complete {
            if broken.load(Ordering::Relaxed) {
                return None;
            }
            // With more threads than processors, the missing ones need this one's.
            thread::yield_now();
        }
        Some(last)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.gate.broken.store(true, Ordering::Relaxed);
        }
    }
}

/// The way to the completion thread.
pub(super) fn channel<T>() -> (SyncSender<Vec<T>>, Receiver<Vec<T>>) {
    mpsc::sync_channel(BATCHES)
}

/// Hands a batch to the completion thread, or has it back if that has died.
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

/// What is handed over, until every worker has finished. What a worker would pay for waking this thread
/// is not the allocator's.
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

//! Threads at work side by side: how they start together, and hand buffers over.
//!
//! A round lasts milliseconds, so nothing in it may wait for the system: threads have processors before
//! they start, and none sleeps for another. Knows of no pool: the benchmarks compile this file, too, so
//! that they measure as replays do.

use std::iter;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

/// Buffers handed to the completion thread at a time, and batches under way at most.
pub(super) const BATCH: usize = 64;
const BATCHES: usize = 64;
/// How long threads are busy before they start. A round may be over before the system has moved
/// them off one processor.
const SETTLING: Duration = Duration::from_millis(20);

/// Lets threads go together, without a system call between the last arrival and the first step.
pub(super) struct Gate {
    missing: AtomicUsize,
    unsettled: AtomicUsize,
    settling: Duration,
}

impl Gate {
    /// For so many threads; `company` says whether any thread is at work beside another.
    pub(super) fn new(threads: usize, company: bool) -> Self {
        let settling = if company { SETTLING } else { Duration::ZERO };
        Self { missing: AtomicUsize::new(threads), unsettled: AtomicUsize::new(threads), settling }
    }

    pub(super) fn pass(&self) {
        meet(&self.missing);
        let all_here = Instant::now();
        while all_here.elapsed() < self.settling {
            std::hint::spin_loop();
        }
        meet(&self.unsettled);
    }
}

/// Waits until everyone has come here.
fn meet(missing: &AtomicUsize) {
    missing.fetch_sub(1, Ordering::AcqRel);
    while missing.load(Ordering::Acquire) > 0 {
        // With more threads than processors, the missing ones need this one's.
        thread::yield_now();
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

//! Queues whose work is slow, stops or is lost, and queues that replace them.
//!
//! A queue's handle keeps its pool open. When the pool is to close in the middle of play, one ticket is left
//! of each queue. Buffers may still be retired with it.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fastrand::Rng;

use crate::soak::figures::{Figures, count};
use crate::soak::finding::Finding;
use warmheap::device::Queue;
use warmheap::device::sim::SimQueue;
use warmheap::{Pool, PoolQueue, Ticket};

/// A slot for queues, one after the other.
#[derive(Debug)]
pub(in crate::soak) struct QueueSlot(RwLock<Work>);

/// A queue with work.
#[derive(Debug)]
pub(in crate::soak) struct Work {
    /// The queue's number, counted through the round, so that a queue is not taken for an earlier one.
    pub(in crate::soak) number: u64,
    pub(in crate::soak) counter: Arc<Counter>,
    handle: Handle,
    /// The most submissions that complete in one step. With 0 the queue stops.
    pace: AtomicU64,
}

#[derive(Debug)]
enum Handle {
    Open(PoolQueue),
    /// The last work's ticket and its value.
    Parted(Ticket, u64),
}

/// A queue's counter, which outlives the queue's loss.
#[derive(Debug, Default)]
pub(in crate::soak) struct Counter {
    queue: Arc<SimQueue>,
    /// The value at the loss.
    last: OnceLock<u64>,
    /// Whether the work is over, completed or not, because the queue has no handle any more.
    gone: AtomicBool,
}

impl Counter {
    fn submit(&self) -> u64 {
        self.queue.submit()
    }

    /// Returns the last value that has completed; for a lost queue, the value at its loss.
    pub(in crate::soak) fn reached(&self) -> u64 {
        // A queue notes its value before it is lost.
        self.queue.completed().unwrap_or_else(|_| self.last.get().copied().unwrap_or_default())
    }

    pub(in crate::soak) fn is_lost(&self) -> bool {
        self.last.get().is_some()
    }

    /// Returns whether work up to `ticket` uses no memory any more.
    pub(in crate::soak) fn is_over(&self, ticket: u64) -> bool {
        self.reached() >= ticket || self.gone.load(Relaxed)
    }

    /// Marks the work as over. The caller does this before it drops the queue's handle.
    pub(in crate::soak) fn go(&self) {
        self.gone.store(true, Relaxed);
    }
}

impl Work {
    fn new(pool: &Pool, number: u64) -> Self {
        let counter = Arc::new(Counter::default());
        let queue = pool.queue(Arc::clone(&counter.queue) as _);
        Self { number, counter, handle: Handle::Open(queue), pace: AtomicU64::new(4) }
    }

    /// Returns the queue, unless its pool closes.
    pub(in crate::soak) fn queue(&self) -> Option<&PoolQueue> {
        match &self.handle {
            Handle::Open(queue) => Some(queue),
            Handle::Parted(..) => None,
        }
    }

    /// Submits work, and returns its ticket and value. When the pool closes, that is the last work again.
    pub(in crate::soak) fn submit(&self) -> (Ticket, u64) {
        match &self.handle {
            Handle::Open(queue) => {
                let value = self.counter.submit();
                (queue.ticket(value), value)
            }
            Handle::Parted(ticket, value) => (ticket.clone(), *value),
        }
    }

    /// Returns the bytes that wait for the queue.
    pub(in crate::soak) fn retired_bytes(&self) -> u64 {
        self.queue().map_or(0, PoolQueue::retired_bytes)
    }

    /// Completes some more work.
    fn step(&self, rng: &mut Rng) {
        let reached = self.counter.reached();
        self.counter.queue.complete(reached + rng.u64(..=self.pace.load(Relaxed)));
    }

    /// Lets the pool free what has completed. A queue is not lost while its slot is read.
    pub(in crate::soak) fn poll(&self) -> Result<(), Finding> {
        match self.queue().map_or(Ok(0), PoolQueue::poll) {
            Err(error) if !self.counter.is_lost() => Err(Finding::Device(error)),
            _ => Ok(()),
        }
    }
}

impl QueueSlot {
    pub(in crate::soak) fn new(pool: &Pool, number: u64) -> Self {
        Self(RwLock::new(Work::new(pool, number)))
    }

    /// Returns the present queue, which stays while the guard lives.
    pub(in crate::soak) fn work(&self) -> RwLockReadGuard<'_, Work> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusively(&self) -> RwLockWriteGuard<'_, Work> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Disturbs the queue; mostly, its work goes on.
    pub(in crate::soak) fn happen(&self, rng: &mut Rng, figures: &Figures) {
        match rng.u32(..2000) {
            0..1900 => self.work().step(rng),
            1900..1995 => self.work().pace.store(rng.choice([0, 1, 1, 4, 16]).unwrap_or(1), Relaxed),
            _ => self.lose(figures),
        }
    }

    /// Loses the queue, with what is in flight on it.
    fn lose(&self, figures: &Figures) {
        // The slot is locked, so that nothing completes between the note and the loss.
        let work = self.exclusively();
        if work.counter.last.set(work.counter.reached()).is_ok() {
            work.counter.queue.lose("the soak ordered it");
            count(&figures.queues_lost);
        }
    }

    /// Completes all submitted work.
    pub(in crate::soak) fn drain(&self) {
        self.work().counter.queue.complete_all();
    }

    /// Drops the queue's handle, and keeps a ticket.
    pub(in crate::soak) fn part(&self) {
        let mut work = self.exclusively();
        let (ticket, value) = work.submit();
        let handle = std::mem::replace(&mut work.handle, Handle::Parted(ticket, value));
        // The slot is unlocked first, because the drop may close the pool.
        drop(work);
        drop(handle);
    }

    /// Replaces the queue. Memory that the old queue still held comes back, because all of its work has
    /// completed, or it is lost and will touch nothing any more.
    pub(in crate::soak) fn replace(&self, pool: &Pool, number: u64, figures: &Figures) {
        let mut work = self.exclusively();
        work.counter.queue.complete_all();
        work.counter.go();
        let old = std::mem::replace(&mut *work, Work::new(pool, number));
        // The slot is unlocked first, because the drop takes time: the pool frees the old queue's memory.
        drop(work);
        drop(old);
        count(&figures.queues_replaced);
    }
}

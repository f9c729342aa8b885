//! Queues whose work is slow, stands still or is lost, and others that take their places.
//!
//! A queue's handle keeps its pool open. When the pool is to close in the middle of play, what is left of
//! each queue is one ticket, which buffers may still be retired with.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fastrand::Rng;

use super::figures::{Figures, count};
use super::finding::Finding;
use warmheap::device::Queue;
use warmheap::device::sim::SimQueue;
use warmheap::{Pool, PoolQueue, Ticket};

/// A place for queues, one after the other.
#[derive(Debug)]
pub(super) struct Lane(RwLock<Work>);

/// A queue at work.
#[derive(Debug)]
pub(super) struct Work {
    /// Counted through the round, so that a queue is not taken for the one before it.
    pub(super) number: u64,
    pub(super) counter: Arc<Counter>,
    handle: Handle,
    /// The most submissions that complete at a step; 0 stands still.
    pace: AtomicU64,
}

#[derive(Debug)]
enum Handle {
    Open(PoolQueue),
    /// The ticket of the last work, with its value.
    Parted(Ticket, u64),
}

/// A queue's counter, which is remembered when the queue is lost.
#[derive(Debug, Default)]
pub(super) struct Counter {
    queue: Arc<SimQueue>,
    /// How far it was when it was lost.
    last: OnceLock<u64>,
    /// Its work is over, done or not: the queue has no handle any more.
    gone: AtomicBool,
}

impl Counter {
    fn submit(&self) -> u64 {
        self.queue.submit()
    }

    /// How far the work is; of a lost queue, how far it got.
    pub(super) fn reached(&self) -> u64 {
        // A queue that is lost in between has noted before how far it was.
        self.queue.completed().unwrap_or_else(|_| self.last.get().copied().unwrap_or_default())
    }

    pub(super) fn is_lost(&self) -> bool {
        self.last.get().is_some()
    }

    /// Whether work up to `ticket` uses no memory any more.
    pub(super) fn is_over(&self, ticket: u64) -> bool {
        self.reached() >= ticket || self.gone.load(Relaxed)
    }

    /// To be called before the queue's handle is let go.
    pub(super) fn go(&self) {
        self.gone.store(true, Relaxed);
    }
}

impl Work {
    fn new(pool: &Pool, number: u64) -> Self {
        let counter = Arc::new(Counter::default());
        let queue = pool.queue(Arc::clone(&counter.queue) as _);
        Self { number, counter, handle: Handle::Open(queue), pace: AtomicU64::new(4) }
    }

    /// The queue, unless its pool closes.
    pub(super) fn queue(&self) -> Option<&PoolQueue> {
        match &self.handle {
            Handle::Open(queue) => Some(queue),
            Handle::Parted(..) => None,
        }
    }

    /// Submits work, which uses memory until the ticket has completed; its value, too. Where the pool
    /// closes it is the last work again.
    pub(super) fn submit(&self) -> (Ticket, u64) {
        match &self.handle {
            Handle::Open(queue) => {
                let value = self.counter.submit();
                (queue.ticket(value), value)
            }
            Handle::Parted(ticket, value) => (ticket.clone(), *value),
        }
    }

    /// Bytes that wait for the queue.
    pub(super) fn retired_bytes(&self) -> u64 {
        self.queue().map_or(0, PoolQueue::retired_bytes)
    }

    /// Completes a little more.
    fn step(&self, rng: &mut Rng) {
        let reached = self.counter.reached();
        self.counter.queue.complete(reached + rng.u64(..=self.pace.load(Relaxed)));
    }

    /// Has the pool look what has completed. A queue is not lost while its lane is looked at.
    pub(super) fn poll(&self) -> Result<(), Finding> {
        match self.queue().map_or(Ok(0), PoolQueue::poll) {
            Err(error) if !self.counter.is_lost() => Err(Finding::Device(error)),
            _ => Ok(()),
        }
    }
}

impl Lane {
    pub(super) fn new(pool: &Pool, number: u64) -> Self {
        Self(RwLock::new(Work::new(pool, number)))
    }

    /// The queue that is here now, and stays while it is looked at.
    pub(super) fn work(&self) -> RwLockReadGuard<'_, Work> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusively(&self) -> RwLockWriteGuard<'_, Work> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happens to the queue: mostly, its work goes on.
    pub(super) fn happen(&self, rng: &mut Rng, figures: &Figures) {
        match rng.u32(..2000) {
            0..1900 => self.work().step(rng),
            1900..1995 => self.work().pace.store(rng.choice([0, 1, 1, 4, 16]).unwrap_or(1), Relaxed),
            _ => self.lose(figures),
        }
    }

    /// The queue is lost, with what is in flight on it.
    fn lose(&self, figures: &Figures) {
        // Alone at the lane, so that nothing completes between the note and the loss.
        let work = self.exclusively();
        if work.counter.last.set(work.counter.reached()).is_ok() {
            work.counter.queue.lose("the soak ordered it");
            count(&figures.queues_lost);
        }
    }

    /// Everything submitted completes.
    pub(super) fn drain(&self) {
        self.work().counter.queue.complete_all();
    }

    /// Lets the queue's handle go, and keeps a ticket.
    pub(super) fn part(&self) {
        let mut work = self.exclusively();
        let (ticket, value) = work.submit();
        let handle = std::mem::replace(&mut work.handle, Handle::Parted(ticket, value));
        // No thread waits at the lane while the pool perhaps closes.
        drop(work);
        drop(handle);
    }

    /// Another queue takes the place. What the old one still held comes back: all of its work has
    /// completed, or it is lost and will touch nothing any more.
    pub(super) fn replace(&self, pool: &Pool, number: u64, figures: &Figures) {
        let mut work = self.exclusively();
        work.counter.queue.complete_all();
        work.counter.go();
        let old = std::mem::replace(&mut *work, Work::new(pool, number));
        // Nobody waits at the lane while the pool looks after the old queue's memory.
        drop(work);
        drop(old);
        count(&figures.queues_replaced);
    }
}

//! The pool's movable buffers: where each of them lies, and what holds it there.
//!
//! The module owns the list of movable buffers and the lock of compaction. It never moves a buffer.
#![forbid(unsafe_code)]

use std::mem::{self, ManuallyDrop};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, Weak};

use crate::fork::Own;
use crate::pool::core::buffer::Buffer;
use crate::pool::in_flight::early_reuse::PendingTicket;
use crate::pool::interface::compaction::CompactionReport;
use crate::sync::{CheckedMutex, Mutex, lock};

/// What a handle and the pool's list of movable buffers share.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) size: u64,
    /// Pins lock it for reading, and the thread that moves the buffer locks it for writing.
    pub(crate) buffer: RwLock<Buffer>,
    /// The alignment that the request asked for, in bytes; 0 is the device's own.
    pub(crate) align: u64,
    pub(crate) in_flight: Own<Mutex<Vec<PendingTicket<Buffer>>>>,
    pub(crate) moves: AtomicU64,
    /// The holds that are not released. The count rises while the buffer is locked for reading.
    pub(crate) holds: AtomicU64,
}

impl Place {
    /// The buffer, to be moved; `None` if it is pinned or if noted work uses it. No other thread can reach
    /// the buffer before the caller drops the guard.
    pub(crate) fn to_move(&self) -> Option<RwLockWriteGuard<'_, Buffer>> {
        let buffer = self.try_write_unless_held()?;
        if lock(&self.in_flight).is_empty() {
            return Some(buffer);
        }
        // The buffer is let go before queues are asked, because a queue may be the program's.
        drop(buffer);
        self.forget(PendingTicket::is_over);
        let buffer = self.try_write_unless_held()?;
        lock(&self.in_flight).is_empty().then_some(buffer)
    }

    fn try_write_unless_held(&self) -> Option<RwLockWriteGuard<'_, Buffer>> {
        self.try_write().filter(|_| self.holds.load(SeqCst) == 0)
    }

    /// Removes the work for which `is_over` is true. Queues are asked, and end with their last work, without
    /// the lock.
    pub(crate) fn forget(&self, is_over: impl Fn(&PendingTicket<Buffer>) -> bool) {
        let mut over = lock(&self.in_flight).clone();
        over.retain(is_over);
        let is_over = |work: &mut PendingTicket<Buffer>| over.iter().any(|over| over.is_same(work));
        let gone: Vec<_> = lock(&self.in_flight).extract_if(.., is_over).collect();
        drop(gone);
    }

    /// Makes the buffer's span wait for the noted work, before its memory gets to any other use.
    fn pass_on_work(&mut self) {
        let buffer = self.buffer.get_mut().unwrap_or_else(PoisonError::into_inner);
        // In the child of a fork the work is the parent's.
        if buffer.here().is_ok() {
            let noted = mem::replace(&mut self.in_flight, Own::new(Mutex::default()));
            let noted = mem::take(&mut *lock(&noted));
            noted.into_iter().filter(|work| !work.is_over()).for_each(|work| buffer.owe(work));
        }
    }

    /// The buffer, which moves no more. It waits for the noted work when it is freed.
    pub(crate) fn into_buffer(self) -> Buffer {
        // Nothing is left in the place then that has anything to drop: a lock that was never taken has nothing.
        let mut place = ManuallyDrop::new(self);
        place.pass_on_work();
        let Place { buffer, size, .. } = &mut *place;
        let buffer = buffer.get_mut().unwrap_or_else(PoisonError::into_inner);
        let nowhere = Buffer::nowhere(buffer.pool(), *size);
        mem::replace(buffer, nowhere)
    }

    /// The buffer, for reading; `None` while it is being moved.
    pub(crate) fn look(&self) -> Option<RwLockReadGuard<'_, Buffer>> {
        self.buffer.try_read().ok()
    }

    pub(crate) fn has_moved(&self) {
        self.moves.fetch_add(1, Relaxed);
    }

    pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, Buffer>> {
        match self.buffer.try_write() {
            Ok(buffer) => Some(buffer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Buffer> {
        self.buffer.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pass_on_work();
    }
}

/// The pool's movable buffers.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    pub(crate) places: Mutex<Vec<Weak<Place>>>,
    /// The lock of compaction: the one thread that compacts holds it, also while it copies.
    pub(crate) at_work: CheckedMutex,
    pub(crate) done: Mutex<Done>,
}

/// What compactions have done since statistics were reset.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) compactions: u64,
    pub(crate) moved_buffers: u64,
    pub(crate) moved_bytes: u64,
    pub(crate) recovered_bytes: u64,
}

impl Compactor {
    /// Adds a movable buffer to the list. Buffers that are gone leave the list now and then.
    pub(crate) fn watch(&self, place: &Arc<Place>) {
        let mut places = lock(&self.places);
        if places.len() == places.capacity() {
            places.retain(|known| known.strong_count() > 0);
        }
        places.push(Arc::downgrade(place));
    }

    /// Whether the calling thread holds the lock of compaction.
    pub(crate) fn is_held_here(&self) -> bool {
        self.at_work.is_held_here()
    }

    pub(crate) fn done(&self) -> Done {
        *lock(&self.done)
    }

    pub(crate) fn reset(&self) {
        *lock(&self.done) = Done::default();
    }

    pub(crate) fn note(&self, report: &CompactionReport) {
        let mut done = lock(&self.done);
        done.compactions += 1;
        done.moved_buffers += report.moved_buffers;
        done.moved_bytes += report.moved_bytes;
        done.recovered_bytes += report.recovered_bytes;
    }
}

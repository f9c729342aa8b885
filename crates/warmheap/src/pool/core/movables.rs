//! The pool's movable buffers: where each of them lies, and what holds it there.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError, Weak};

use crate::fork::Own;
use crate::pool::core::Core;
use crate::pool::core::buffer::Buffer;
use crate::pool::in_flight::early_reuse::PendingTicket;
use crate::pool::interface::compaction::CompactionReport;
use crate::sync::{CheckedMutex, Mutex, lock};

/// What a handle and the pool's list of movables share.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) pool: Arc<Core>,
    pub(crate) size: u64,
    /// Read by pins, written by the one who moves it.
    pub(crate) buffer: RwLock<Buffer>,
    /// What the request asked for, in bytes; 0 is the device's own.
    pub(crate) align: u64,
    pub(crate) in_flight: Own<Mutex<Vec<PendingTicket<Buffer>>>>,
    pub(crate) moves: AtomicU64,
}

impl Place {
    /// The buffer, to be moved: nobody has it pinned, no work that was told of uses it, and nobody
    /// gets at it before the answer is dropped.
    pub(crate) fn to_move(&self) -> Option<RwLockWriteGuard<'_, Buffer>> {
        let buffer = self.try_write()?;
        if lock(&self.in_flight).is_empty() {
            return Some(buffer);
        }
        // Queues are asked with the buffer let go: they may be the program's.
        drop(buffer);
        self.forget(PendingTicket::is_over);
        let buffer = self.try_write()?;
        lock(&self.in_flight).is_empty().then_some(buffer)
    }

    /// Takes work off the list. Queues are asked, and end with their last work, without the lock.
    pub(crate) fn forget(&self, is_over: impl Fn(&PendingTicket<Buffer>) -> bool) {
        let mut over = lock(&self.in_flight).clone();
        over.retain(is_over);
        let is_over = |work: &mut PendingTicket<Buffer>| over.iter().any(|over| over.is_same(work));
        let gone: Vec<_> = lock(&self.in_flight).extract_if(.., is_over).collect();
        drop(gone);
    }

    /// The buffer, to be looked at; `None` while it is being moved.
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

/// The pool's movable buffers.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    pub(crate) places: Mutex<Vec<Weak<Place>>>,
    /// Held by the one thread that compacts, while it copies too.
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
    /// Takes a movable buffer into the list. Those that are gone leave it, now and then.
    pub(crate) fn watch(&self, place: &Arc<Place>) {
        let mut places = lock(&self.places);
        if places.len() == places.capacity() {
            places.retain(|known| known.strong_count() > 0);
        }
        places.push(Arc::downgrade(place));
    }

    /// Whether the calling thread compacts.
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

//! Buffers that the pool may move: handles that resolve to the present place.
//!
//! Owns the promise not to move a buffer under anyone who uses it: a pin holds it for as long as an
//! address is in use on the CPU's side, a ticket for as long as the device is at work on it. Which
//! buffers move, and where to, is compaction's business.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::Pool;
use super::buffer::Buffer;
use super::early::Debt;
use super::error::AllocError;
use super::lock;
use super::queue::Ticket;
use super::request::Request;
use super::shared::Shared;
use crate::fork::Own;
use crate::sync::Mutex;

/// A buffer that compaction may move while nobody uses it. Made by [`Pool::allocate_movable`]; given
/// back when dropped, as a [`Buffer`] is.
///
/// There is no address to ask for but that of a [`Pinned`]: whoever needs one pins the buffer, and
/// says with [`Movable::in_flight_until`] which work of the device still uses it afterwards.
///
/// ```
/// use std::sync::Arc;
/// use warmheap::device::host::HostDevice;
/// use warmheap::{CompactionBudget, Pool, PoolConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic())?;
/// let cache = pool.allocate_movable(1_u64 << 20)?;
/// {
///     let pinned = cache.pin(); // stays where it is while `pinned` lives
///     assert!(pinned.host().is_some());
/// }
/// pool.compact(CompactionBudget::unlimited())?; // may move it; its contents stay
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Movable {
    place: Arc<Place>,
}

/// A movable buffer that stays where it is while this lives.
#[derive(Debug)]
pub struct Pinned<'a>(Held<'a>);

#[derive(Debug)]
enum Held<'a> {
    Here(RwLockReadGuard<'a, Buffer>),
    /// In the child of a fork, whose parent may have been moving the buffer.
    Nowhere(Buffer),
}

impl Deref for Pinned<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        match &self.0 {
            Held::Here(guard) => guard,
            Held::Nowhere(buffer) => buffer,
        }
    }
}

/// What a handle and the pool's list of movables share.
#[derive(Debug)]
pub(crate) struct Place {
    pool: Arc<Shared>,
    size: u64,
    /// Read by pins, written by the one who moves it.
    buffer: RwLock<Buffer>,
    /// What the request asked for, in bytes; 0 is the device's own.
    pub(crate) align: u64,
    in_flight: Own<Mutex<Vec<Debt>>>,
    moves: AtomicU64,
}

impl Pool {
    /// As [`Pool::allocate`], for a buffer that the pool may move to other places of its heaps when
    /// it compacts. Room to grow is not kept for it.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    #[track_caller]
    pub fn allocate_movable(&self, request: impl Into<Request>) -> Result<Movable, AllocError> {
        let request = request.into().growable(0);
        let buffer = self.allocate(request)?;
        let place = Arc::new(Place {
            pool: Arc::clone(self.shared()),
            size: request.size,
            buffer: RwLock::new(buffer),
            align: request.align,
            in_flight: Own::new(Mutex::default()),
            moves: AtomicU64::new(0),
        });
        self.shared().compactor.watch(&place);
        Ok(Movable { place })
    }
}

impl Movable {
    /// Keeps the buffer where it is for as long as the answer lives, and says where that is. Waits
    /// for the end of a move that is under way: the copy of this one buffer. In the child of a fork the buffer
    /// has its size, and neither address nor memory.
    #[must_use]
    pub fn pin(&self) -> Pinned<'_> {
        let Place { pool, size, buffer, .. } = &*self.place;
        Pinned(if pool.process.is_current() {
            Held::Here(buffer.read().unwrap_or_else(PoisonError::into_inner))
        } else {
            Held::Nowhere(Buffer::nowhere(pool, *size))
        })
    }

    /// Says that work up to `ticket` uses the buffer: it is not moved before that has completed or,
    /// where the queue is lost, before the last handle and ticket of the queue are gone. To be called while the buffer is still pinned; dropping it early is as wrong as dropping any
    /// buffer early: [`Movable::retire`] it.
    pub fn in_flight_until(&self, ticket: &Ticket) {
        if !self.place.pool.process.is_current() {
            return;
        }
        let work = ticket.debt();
        self.place.forget(|known| known.is_over() || known.comes_before(&work));
        lock(&self.place.in_flight).push(work);
    }

    /// Frees the buffer once the ticket's work has completed; see [`Buffer::retire`].
    pub fn retire(self, ticket: &Ticket) {
        self.into_buffer().retire(ticket);
    }

    /// The buffer as one that does not move any more. Waits for the end of a move that is under way.
    #[must_use]
    pub fn into_buffer(self) -> Buffer {
        let mut place = self.place;
        if !place.pool.process.is_current() {
            let buffer = Buffer::nowhere(&place.pool, place.size);
            std::mem::forget(place);
            return buffer;
        }
        loop {
            match Arc::try_unwrap(place) {
                Ok(place) => return place.buffer.into_inner().unwrap_or_else(PoisonError::into_inner),
                Err(shared) => {
                    // Compaction holds it, for as long as it takes to copy.
                    drop(shared.write());
                    std::thread::yield_now();
                    place = shared;
                }
            }
        }
    }

    /// Bytes asked for.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.place.size
    }

    /// How often the buffer has been moved: addresses taken before the last move are stale.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.place.moves.load(Relaxed)
    }
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
        self.forget(Debt::is_over);
        let buffer = self.try_write()?;
        lock(&self.in_flight).is_empty().then_some(buffer)
    }

    /// Takes work off the list. Queues are asked, and end with their last work, without the lock.
    fn forget(&self, is_over: impl Fn(&Debt) -> bool) {
        let mut over = lock(&self.in_flight).clone();
        over.retain(is_over);
        let is_over = |work: &mut Debt| over.iter().any(|over| over.is_same(work));
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

    fn try_write(&self) -> Option<RwLockWriteGuard<'_, Buffer>> {
        match self.buffer.try_write() {
            Ok(buffer) => Some(buffer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Buffer> {
        self.buffer.write().unwrap_or_else(PoisonError::into_inner)
    }
}

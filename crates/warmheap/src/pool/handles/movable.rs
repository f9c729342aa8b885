//! Buffers that the pool may move: handles that resolve to the present place.
//!
//! Owns the promise not to move a buffer under anyone who uses it: a pin holds it for as long as an
//! address is in use on the CPU's side, a ticket for as long as the device is at work on it. Which
//! buffers move, and where to, is compaction's business.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::Pool;
use crate::fork::Own;
use crate::pool::core::buffer::{Buffer, Ticket};
use crate::pool::core::movables::Place;
use crate::pool::interface::error::AllocError;
use crate::pool::interface::request::Request;
use crate::sync::{Mutex, lock};

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

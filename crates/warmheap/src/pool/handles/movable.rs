//! Movable buffers: handles that resolve to a buffer's present place.
//!
//! The module owns the promise not to move a buffer that is in use. A pin holds the buffer for as long as the
//! CPU's side uses an address. A ticket holds it for as long as the device works on it. The module never
//! decides which buffers move, and where to: compaction does.
#![forbid(unsafe_code)]

use std::ops::Deref;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::Pool;
use crate::fork::Own;
use crate::pool::core::Core;
use crate::pool::core::buffer::{Buffer, Ticket};
use crate::pool::core::movables::Place;
use crate::pool::interface::error::AllocError;
use crate::pool::interface::request::Request;
use crate::sync::{Mutex, lock};

/// A buffer that compaction may move while it is not in use. [`Pool::allocate_movable`] creates one. It is
/// given back when dropped, as a [`Buffer`] is, or once noted work has completed.
///
/// Only a [`PinnedBuffer`] has an address. A caller that needs one pins the buffer, and notes with
/// [`MovableBuffer::in_flight_until`] which work of the device still uses it afterwards.
///
/// ```
/// use std::sync::Arc;
/// use warmheap::device::host::HostDevice;
/// use warmheap::{CompactionBudget, Pool, PoolConfig};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic())?;
/// let cache = pool.allocate_movable(1 << 20)?;
/// {
///     let pinned = cache.pin(); // stays where it is while `pinned` lives
///     assert!(pinned.host_ptr().is_some());
/// }
/// pool.compact(CompactionBudget::unlimited())?; // may move it; its contents stay
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MovableBuffer {
    place: Arc<Place>,
    pool: Arc<Core>,
}

/// A movable buffer that stays where it is while this lives.
#[derive(Debug)]
pub struct PinnedBuffer<'a>(Held<'a>);

#[derive(Debug)]
enum Held<'a> {
    Here(RwLockReadGuard<'a, Buffer>),
    /// The buffer in the child of a fork, whose parent may have been moving it.
    Nowhere(Buffer),
}

impl Deref for PinnedBuffer<'_> {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        match &self.0 {
            Held::Here(guard) => guard,
            Held::Nowhere(buffer) => buffer,
        }
    }
}

impl Pool {
    /// As [`Pool::allocate`], for a buffer that the pool may move to other places of its heaps when it
    /// compacts. The pool keeps no room to grow for it.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    #[track_caller]
    pub fn allocate_movable(&self, request: impl Into<Request>) -> Result<MovableBuffer, AllocError> {
        let request = request.into().growable(0);
        let buffer = self.allocate(request)?;
        let place = Arc::new(Place {
            size: request.size,
            buffer: RwLock::new(buffer),
            align: request.align,
            in_flight: Own::new(Mutex::default()),
            moves: AtomicU64::new(0),
            holds: AtomicU64::new(0),
        });
        self.shared().compactor.watch(&place);
        Ok(MovableBuffer { place, pool: Arc::clone(self.shared()) })
    }
}

impl MovableBuffer {
    /// Keeps the buffer where it is while the returned pin lives, which shows where that is. Waits for the
    /// end of a move that is under way: the copy of this one buffer. In the child of a fork the buffer has
    /// its size, and neither address nor memory.
    #[must_use]
    pub fn pin(&self) -> PinnedBuffer<'_> {
        let Place { size, buffer, .. } = &*self.place;
        PinnedBuffer(if self.pool.process.is_current() {
            Held::Here(buffer.read().unwrap_or_else(PoisonError::into_inner))
        } else {
            Held::Nowhere(Buffer::nowhere(&self.pool, *size))
        })
    }

    /// Keeps the buffer where it is until [`MovableBuffer::release`], as a pin does. For bindings, whose pins
    /// have no scope and end on any thread. Holds are counted. Waits as [`MovableBuffer::pin`] does.
    pub fn hold(&self) {
        let _still = self.pin();
        self.place.holds.fetch_add(1, SeqCst);
    }

    /// Ends one hold. Does nothing without one.
    pub fn release(&self) {
        let _ = self.place.holds.fetch_update(SeqCst, SeqCst, |holds| holds.checked_sub(1));
    }

    /// Notes that work up to `ticket` uses the buffer. The pool does not move the buffer before that work has
    /// completed, and no other use gets its memory before, also if the buffer is dropped, retired to another
    /// queue or converted. If the queue is lost, both hold until the last handle and ticket of the queue are
    /// gone. Work of several queues may be noted.
    ///
    /// Call this while the buffer is still pinned.
    pub fn in_flight_until(&self, ticket: &Ticket) {
        if !self.pool.process.is_current() {
            return;
        }
        let work = ticket.debt();
        self.place.forget(|known| known.is_over() || known.comes_before(&work));
        lock(&self.place.in_flight).push(work);
    }

    /// Frees the buffer once the ticket's work and all noted work have completed; see [`Buffer::retire`].
    pub fn retire(self, ticket: &Ticket) {
        self.into_buffer().retire(ticket);
    }

    /// Converts into a buffer that does not move any more. Waits for the end of a move that is under way. Work
    /// that was noted is waited for when the buffer is freed.
    #[must_use]
    pub fn into_buffer(self) -> Buffer {
        let Self { mut place, pool } = self;
        if !pool.process.is_current() {
            let buffer = Buffer::nowhere(&pool, place.size);
            std::mem::forget((place, pool));
            return buffer;
        }
        loop {
            match Arc::try_unwrap(place) {
                Ok(place) => return place.into_buffer(),
                Err(shared) => {
                    // Compaction holds a reference, for as long as it takes to copy.
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

    /// The number of times that the buffer has been moved. Addresses taken before the last move are stale.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.place.moves.load(Relaxed)
    }
}

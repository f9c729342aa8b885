//! Buffers: what a caller holds.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use super::early::Debt;
use super::ledger::NOBODY;
use super::range::{FALLBACK, Range, Start};
use super::request::{Request, Tag};
use super::shared::Shared;
use super::site::Site;
use super::timeline::Timeline;
use crate::device::Memory;
use crate::fork::{Forked, Process};

/// A range of device memory, given back when dropped.
///
/// A buffer may be sent to, used on and dropped by any thread. It may outlive its pool: the memory
/// stays until the last buffer in it is gone. Contents are uninitialised unless the request asked
/// for zeroes.
#[repr(C)]
pub struct Buffer {
    range: ManuallyDrop<Range>,
    pool: NonNull<Shared>,
    size: u64,
}

// SAFETY: the pool behind the pointer is `Sync`, and the range is `Send` and `Sync`.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer over `range`, which belongs to `pool` and which nobody else holds.
    #[inline(always)]
    pub(crate) fn new(pool: &Shared, range: Range, size: u64) -> Self {
        Self { pool: NonNull::from(pool), range: ManuallyDrop::new(range), size }
    }

    /// Bytes asked for. The range may be a little longer.
    #[inline]
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The device's address of the first byte.
    #[inline]
    #[must_use]
    pub fn address(&self) -> u64 {
        self.range.address
    }

    /// The CPU's pointer to the first byte, where the device's memory is visible to the CPU.
    /// It is valid for [`Buffer::size`] bytes while the buffer lives. `None` in the child of a fork, which has
    /// inherited the buffer.
    #[must_use]
    pub fn host(&self) -> Option<NonNull<u8>> {
        let Placement { memory, offset } = self.memory()?;
        let inside = offset.checked_add(self.size).is_some_and(|end| end <= memory.size());
        // SAFETY: the offset is inside the memory, and a CPU pointer is valid for all of that: so its
        // implementation has promised.
        memory.host().filter(|_| inside).map(|base| unsafe { base.add(offset as usize) })
    }

    /// Whether the buffer came straight from the device because no heap could serve it.
    #[inline]
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.range.is_fallback()
    }

    /// The request's tag.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.range.tenant().tag()
    }

    /// Where the buffer was asked for.
    #[must_use]
    pub fn site(&self) -> Option<Site> {
        self.range.tenant().site()
    }

    /// The heap or fallback allocation that the buffer lies in, for the device's own objects. `None` in the
    /// child of a fork.
    #[must_use]
    pub fn memory(&self) -> Option<Placement> {
        self.here().ok()?.memory(&self.range).map(|(memory, offset)| Placement { memory, offset })
    }

    /// Whether the range would serve `request` as if it had been cut for it.
    pub(crate) fn suits(&self, pool: &Shared, request: &Request) -> bool {
        std::ptr::eq(self.pool.as_ptr(), pool) && !self.range.owes() && pool.suits(&self.range, request)
    }

    /// Settles the quotas for [`Buffer::handed_on`]; `false`, and nothing changed, if the request's
    /// does not allow it.
    pub(crate) fn recharge(&mut self, request: &Request) -> bool {
        // SAFETY: a pool ends only when none of its buffers is left.
        let quotas = unsafe { &self.pool.as_ref().quotas };
        let (from, metered) = (self.range.tenant().tag(), self.range.is_metered());
        if !metered && !quotas.cover(request.tag) {
            return true;
        }
        let returned = if metered && from == request.tag { self.size } else { 0 };
        let Ok(charge) = quotas.charge(request.tag, request.size, returned) else { return false };
        if self.range.unmeter() && from != request.tag {
            quotas.give(from, self.size);
        }
        if let Some(charge) = charge {
            self.range.meter();
            charge.settle();
        }
        true
    }

    /// The same range for another request, counted as freed and allocated. `debt` is the work that
    /// may still use it.
    pub(crate) fn handed_on(mut self, request: &Request, site: Site, debt: Debt) -> Self {
        self.pool().early.note(&self.range, debt);
        self.range.owe();
        self.pool().recount(self.size, request.size);
        self.range.tenant().moves_in(request.size, request.tag, site);
        self.size = request.size;
        self
    }

    /// Settles what the range owes, if waiting for this ticket will do for it.
    pub(crate) fn pay(&mut self, timeline: &Arc<Timeline<Self>>, value: u64) {
        let covered = |debt: &Debt| debt.is_covered(timeline, value);
        if self.range.owes() && self.pool().early.settle(&self.range, covered).is_some() {
            self.range.forget_debt();
        }
    }

    /// For bindings: frees the buffer if that calls no device and waits for no queue; else returns it, to
    /// be dropped where the caller may wait. Locks that are held for moments are waited for.
    ///
    /// # Errors
    /// The buffer, unchanged.
    pub fn free_at_once(self) -> Result<(), Self> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: a pool ends only when none of its buffers is left, and this one's range is out until
        // one of the two calls below has taken it. Neither uses the pool afterwards.
        let pool = unsafe { this.pool.as_ref() };
        let (class, len, size) = (this.range.class(), this.range.len(), this.size);
        // SAFETY: called once in all: `free` calls it only when it returns true. What the second call
        // returns is put in its place again.
        let mut range = || unsafe { ManuallyDrop::take(&mut this.range) };
        if pool.free(class, len, size, &mut range) {
            return Ok(());
        }
        match pool.reclaim_at_once(range(), size) {
            Ok(()) => Ok(()),
            Err(range) => {
                this.range = ManuallyDrop::new(range);
                Err(ManuallyDrop::into_inner(this))
            }
        }
    }

    pub(crate) fn range(&self) -> &Range {
        &self.range
    }

    /// Puts the buffer into another range of the same pool, which knows its holder from then on.
    /// Answers the range that it was in, which is nobody's.
    pub(crate) fn move_to(&mut self, mut range: Range) -> Range {
        range.tenant().takes_over(self.range.tenant());
        if self.range.unmeter() {
            range.meter();
        }
        let left = std::mem::replace(&mut *self.range, range);
        left.tenant().resize(0);
        left
    }

    /// The pool, and the range to be changed: it stays the same block of its heap.
    pub(crate) fn parts(&mut self) -> (&Shared, &mut Range) {
        // SAFETY: a pool ends only when none of its buffers is left.
        (unsafe { self.pool.as_ref() }, &mut self.range)
    }

    pub(crate) fn set_size(&mut self, size: u64) {
        self.size = size;
    }

    /// The process that the buffer's pool was made in, the only one that can use it.
    #[must_use]
    pub fn process(&self) -> Process {
        self.pool().process
    }

    /// The pool, unless this process has inherited it.
    pub(super) fn here(&self) -> Result<&Shared, Forked> {
        let pool = self.pool();
        pool.process.check().map(|()| pool)
    }

    /// What stands for a buffer that cannot be reached in a child process: it has a size, and nothing else.
    pub(super) fn nowhere(pool: &Shared, size: u64) -> Self {
        Self::new(pool, Range::new(Start::new(&NOBODY, 0), 0, FALLBACK, u16::MAX), size)
    }

    #[inline(always)]
    pub(crate) fn pool(&self) -> &Shared {
        // SAFETY: a pool ends only when none of its buffers is left.
        unsafe { self.pool.as_ref() }
    }
}

impl Drop for Buffer {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: a pool ends only when none of its buffers is left, and this one's range is out
        // until one of the calls below has taken it. None uses the pool afterwards.
        let pool = unsafe { self.pool.as_ref() };
        let (class, len) = (self.range.class(), self.range.len());
        let size = self.size;
        // SAFETY: called once in all: `free` calls it only when it returns true.
        let mut range = || unsafe { ManuallyDrop::take(&mut self.range) };
        if pool.free(class, len, size, &mut range) {
            return;
        }
        // Nothing is left to do after the call, so nothing must be kept for it.
        give_back(self.pool, range(), size);
    }
}

/// Takes back a range that this thread's cache refused. By a pointer: no reference to the pool may be
/// left in use when what keeps it goes, as it may end then.
#[inline(never)]
fn give_back(pool: NonNull<Shared>, range: Range, size: u64) {
    // SAFETY: the range is out until the pool has taken it, and a pool ends only when none is.
    let keep = unsafe { pool.as_ref() }.take_back(range, size);
    drop(keep);
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("address", &format_args!("{:#x}", self.address()))
            .field("size", &self.size)
            .field("fallback", &self.is_fallback())
            .finish_non_exhaustive()
    }
}

/// Where a buffer lies: a piece of device memory and an offset in it.
///
/// Buffers of others lie in the same memory, so what changes it is unsafe to call; see [`Memory`].
///
/// ```compile_fail,E0133
/// # use std::sync::Arc;
/// # use warmheap::{Pool, PoolConfig, device::host::HostDevice};
/// # let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
/// let buffer = pool.allocate(4096_u64).unwrap();
/// let place = buffer.memory().unwrap();
/// place.fill(0..place.size(), 1); // every buffer in the heap
/// ```
#[derive(Debug, Clone)]
pub struct Placement {
    memory: Arc<dyn Memory>,
    offset: u64,
}

impl Placement {
    /// The byte offset from the start of the memory.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl Deref for Placement {
    type Target = dyn Memory;

    fn deref(&self) -> &Self::Target {
        &*self.memory
    }
}

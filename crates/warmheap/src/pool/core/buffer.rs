//! Buffers: what a caller holds.
//!
//! The module owns a buffer's span until the buffer is dropped or retired. It never uses the pool after the
//! span is back, because the pool may have ended then.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::device::Memory;
use crate::fork::{Forked, Process};
use crate::pool::core::Core;
use crate::pool::heaps::records::UNUSED;
use crate::pool::heaps::span::{FALLBACK, Span, SpanHead};
use crate::pool::in_flight::early_reuse::PendingTicket;
use crate::pool::in_flight::timeline::Timeline;
use crate::pool::interface::call_site::CallSite;
use crate::pool::interface::request::{Request, Tag};

/// The most buffers freed by one poll, so that no single retire pays for many.
const BATCH: usize = 16;

/// A span of device memory, given back when dropped.
///
/// Any thread may take, use and drop a buffer. The buffer may outlive its pool: the memory stays until the
/// last buffer in it is gone. Contents are uninitialised unless the request asked for zeroes.
#[repr(C)]
pub struct Buffer {
    pub(in crate::pool) span: ManuallyDrop<Span>,
    pub(in crate::pool) pool: NonNull<Core>,
    pub(in crate::pool) size: u64,
}

// SAFETY: the pool behind the pointer is `Sync`, and the span is `Send` and `Sync`.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer over `range`, which belongs to `pool` and has no other owner.
    #[inline(always)]
    pub(crate) fn new(pool: &Core, span: Span, size: u64) -> Self {
        Self { pool: NonNull::from(pool), span: ManuallyDrop::new(span), size }
    }

    /// Bytes asked for. The span may be a little longer.
    #[inline]
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The device's address of the first byte.
    #[inline]
    #[must_use]
    pub fn device_address(&self) -> u64 {
        self.span.address
    }

    /// The CPU's pointer to the first byte, where the CPU can see the device's memory. The pointer is valid
    /// for [`Buffer::size`] bytes while the buffer lives. `None` in the child of a fork, which has inherited
    /// the buffer.
    #[must_use]
    pub fn host_ptr(&self) -> Option<NonNull<u8>> {
        let BufferMemory { memory, offset } = self.memory()?;
        let inside = offset.checked_add(self.size).is_some_and(|end| end <= memory.size());
        // SAFETY: the offset is inside the memory, and a CPU pointer is valid for all of the memory, as its
        // implementation has promised.
        memory.host_ptr().filter(|_| inside).map(|base| unsafe { base.add(offset as usize) })
    }

    /// Whether the buffer came straight from the device because no heap could serve it.
    #[inline]
    #[must_use]
    pub fn is_fallback(&self) -> bool {
        self.span.is_fallback()
    }

    /// The request's tag.
    #[must_use]
    pub fn tag(&self) -> Tag {
        self.span.record().tag()
    }

    /// The line of source that asked for the buffer.
    #[must_use]
    pub fn site(&self) -> Option<CallSite> {
        self.span.record().site()
    }

    /// The heap or fallback allocation that the buffer lies in, for the device's own objects. `None` in the
    /// child of a fork.
    #[must_use]
    pub fn memory(&self) -> Option<BufferMemory> {
        self.here().ok()?.memory(&self.span).map(|(memory, offset)| BufferMemory { memory, offset })
    }

    /// Whether the span would serve `request` as if it had been cut for it.
    pub(crate) fn suits(&self, pool: &Core, request: &Request) -> bool {
        std::ptr::eq(self.pool.as_ptr(), pool) && !self.span.owes() && pool.suits(&self.span, request)
    }

    /// Moves the charges of quotas for [`Buffer::handed_on`]. Returns `false`, with nothing changed, if the
    /// request's quota does not allow it.
    pub(crate) fn recharge(&mut self, request: &Request) -> bool {
        // SAFETY: a pool ends only when none of its buffers is left.
        let quotas = unsafe { &self.pool.as_ref().quotas };
        let (from, metered) = (self.span.record().tag(), self.span.is_metered());
        if !metered && !quotas.cover(request.tag) {
            return true;
        }
        let returned = if metered && from == request.tag { self.size } else { 0 };
        let Ok(charge) = quotas.charge(request.tag, request.size, returned) else { return false };
        if self.span.unmeter() && from != request.tag {
            quotas.give(from, self.size);
        }
        if let Some(charge) = charge {
            self.span.meter();
            charge.settle();
        }
        true
    }

    /// The same span for another request, counted as freed and allocated. `debt` is the work that may still
    /// use it.
    pub(crate) fn handed_on(mut self, request: &Request, site: CallSite, debt: PendingTicket<Self>) -> Self {
        self.owe(debt);
        self.pool().recount(self.size, request.size);
        self.span.record().fill(request.size, request.tag, site);
        self.size = request.size;
        self
    }

    /// Makes the span wait for `debt` before any other use gets it, whatever becomes of the buffer.
    pub(crate) fn owe(&mut self, debt: PendingTicket<Self>) {
        self.pool().early.note(&self.span, debt);
        self.span.owe();
    }

    /// Resolves the pending tickets of the span which a wait for this ticket covers.
    pub(crate) fn pay(&mut self, timeline: &Arc<Timeline<Self>>, value: u64) {
        let covered = |debt: &PendingTicket<Self>| debt.is_covered(timeline, value);
        while self.span.owes()
            && let Some((_, has_others)) = self.pool().early.take(&self.span, covered)
        {
            if !has_others {
                self.span.forget_debt();
            }
        }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Puts the buffer into another span of the same pool, whose record names the buffer from then on.
    /// Returns the span that it left, whose record names no buffer.
    pub(crate) fn move_to(&mut self, mut span: Span) -> Span {
        span.record().copy_from(self.span.record());
        if self.span.unmeter() {
            span.meter();
        }
        let left = std::mem::replace(&mut *self.span, span);
        left.record().resize(0);
        left
    }

    /// The pool, and the span to be changed, which must stay the same block of its heap.
    pub(crate) fn parts(&mut self) -> (&Core, &mut Span) {
        // SAFETY: a pool ends only when none of its buffers is left.
        (unsafe { self.pool.as_ref() }, &mut self.span)
    }

    pub(crate) fn set_size(&mut self, size: u64) {
        self.size = size;
    }

    /// The process that created the buffer's pool, and the only one that can use it.
    #[must_use]
    pub fn process(&self) -> Process {
        self.pool().process
    }

    /// The pool, unless this process has inherited it.
    pub(crate) fn here(&self) -> Result<&Core, Forked> {
        let pool = self.pool();
        pool.process.check().map(|()| pool)
    }

    /// A stand-in for a buffer that cannot be reached in a child process. It has a size, and nothing else.
    pub(crate) fn nowhere(pool: &Core, size: u64) -> Self {
        Self::new(pool, Span::new(SpanHead::new(&UNUSED, 0), 0, FALLBACK, u16::MAX), size)
    }

    #[inline(always)]
    pub(crate) fn pool(&self) -> &Core {
        // SAFETY: a pool ends only when none of its buffers is left.
        unsafe { self.pool.as_ref() }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("address", &format_args!("{:#x}", self.device_address()))
            .field("size", &self.size)
            .field("fallback", &self.is_fallback())
            .finish_non_exhaustive()
    }
}

/// The place of a buffer: a piece of device memory and an offset in it.
///
/// Other buffers lie in the same memory, so calls that change it are unsafe; see [`Memory`].
///
/// ```compile_fail,E0133
/// # use std::sync::Arc;
/// # use warmheap::{Pool, PoolConfig, device::host::HostDevice};
/// # let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
/// let buffer = pool.allocate(4096).unwrap();
/// let place = buffer.memory().unwrap();
/// place.fill(0..place.size(), 1); // every buffer in the heap
/// ```
#[derive(Debug, Clone)]
pub struct BufferMemory {
    memory: Arc<dyn Memory>,
    offset: u64,
}

impl BufferMemory {
    /// The byte offset from the start of the memory.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl Deref for BufferMemory {
    type Target = dyn Memory;

    fn deref(&self) -> &Self::Target {
        &*self.memory
    }
}

/// A position in a queue's order: all work up to one submission.
#[derive(Debug, Clone)]
pub struct Ticket {
    pub(in crate::pool) timeline: Arc<Timeline<Buffer>>,
    pub(in crate::pool) value: u64,
}

impl Ticket {
    /// Whether all work up to this position has completed. This reads the queue's counter once. A lost queue
    /// completes nothing more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.timeline.has_completed(self.value)
    }

    /// The number of the ticket's queue; see [`PoolQueue::number`](crate::PoolQueue::number).
    #[must_use]
    pub fn queue_number(&self) -> u64 {
        self.timeline.number()
    }

    /// The same position, without counting as a holder of the queue.
    pub(crate) fn debt(&self) -> PendingTicket<Buffer> {
        PendingTicket::new(&self.timeline, self.value)
    }
}

impl Buffer {
    /// Frees the buffer once the ticket's work has completed. Returns at once. Any thread may call it,
    /// completion handlers included. Also frees a few buffers that are ready. A ticket that the child of a
    /// fork has inherited never completes there: the buffer stays taken.
    pub fn retire(mut self, ticket: &Ticket) {
        let Ticket { timeline, value } = ticket;
        if self.here().is_err() || !timeline.is_here() {
            // The work is the parent's, and this process cannot know whether it has completed.
            return std::mem::forget(self);
        }
        self.pay(timeline, *value);
        timeline.retire(*value, self.size(), self);
        // Callers that poll learn that a queue is lost. This buffer waits like the others.
        let _ = timeline.poll(BATCH);
    }
}

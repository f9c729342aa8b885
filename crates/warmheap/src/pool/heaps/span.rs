//! A span of memory on its way between heap, caches and buffers. A span must never have two owners, so it has
//! no copy.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::pool::heaps::records::AllocRecord;

/// The class of a span that is not rounded to a size class, because it is too large or was aligned by
/// request.
pub(crate) const EXACT: u16 = EARLY - 2;
/// The class of a span of whole pages that has a reserved tail.
pub(crate) const GROWING: u16 = EARLY - 3;
/// The class of a span that came straight from the device.
pub(crate) const FALLBACK: u16 = EARLY - 1;
/// The marks beside the class. No cache knows a class with a mark, so the buffer's free takes the long way,
/// which handles the marks.
const MARKS: u16 = METERED | EARLY;
/// The holder's tag has a quota.
const METERED: u16 = 1 << 15;
/// The span has a pending ticket: a queue reuses it before the queue's earlier work on it is done.
const EARLY: u16 = 1 << 14;

/// The address of a span, and the record of its holder. It has two words, so that it is returned in
/// registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanHead {
    record: NonNull<AllocRecord>,
    address: u64,
}

impl SpanHead {
    /// `record` must belong to a record table of the pool in which the span is used.
    #[inline(always)]
    pub(crate) fn new(record: &AllocRecord, address: u64) -> Self {
        Self { record: NonNull::from(record), address }
    }

    #[inline(always)]
    pub(crate) fn record(&self) -> &AllocRecord {
        // SAFETY: as in `Span::record`.
        unsafe { self.record.as_ref() }
    }
}

/// Everything needed to use a span and to give it back, in 24 bytes. The holder of the `Span` owns the
/// memory: there is one for each block that a heap has handed out.
///
/// A span has three words, because spans travel through memory. Loading a value just written by several
/// narrower stores defeats store forwarding, and stalls for tens of cycles.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Span {
    record: NonNull<AllocRecord>,
    pub(crate) address: u64,
    /// From the lowest bit: 32 bits of the length in granules, 16 of the class with its marks, 16 of the
    /// arena.
    shape: u64,
}

const CLASS: u32 = 32;
const ARENA: u32 = 48;

#[inline(always)]
fn shape(len: u32, class: u16, arena: u16) -> u64 {
    u64::from(len) | u64::from(class) << CLASS | u64::from(arena) << ARENA
}

// SAFETY: the pointer leads to an `AllocRecord`. Other threads only read it, except for its atomics.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    #[inline(always)]
    pub(crate) fn new(SpanHead { record, address }: SpanHead, len: u32, class: u16, arena: u16) -> Self {
        Self { record, address, shape: shape(len, class, arena) }
    }

    /// The length in granules.
    #[inline(always)]
    pub(crate) fn len(&self) -> u32 {
        self.shape as u32
    }

    /// The class with its marks, if it has any.
    #[inline(always)]
    pub(crate) fn class(&self) -> u16 {
        (self.shape >> CLASS) as u16
    }

    #[inline(always)]
    pub(crate) fn arena(&self) -> u16 {
        (self.shape >> ARENA) as u16
    }

    /// Whether caches and heaps must not take the span as it is: it has a mark, or came straight from the
    /// device.
    #[inline]
    pub(crate) fn is_special(&self) -> bool {
        // The marks are the bits above.
        self.class() >= FALLBACK
    }

    fn mark(&mut self, mark: u16) {
        self.shape |= u64::from(mark) << CLASS;
    }

    /// Removes a mark. Returns whether there was one.
    fn unmark(&mut self, mark: u16) -> bool {
        let marked = self.class() & mark != 0;
        self.shape &= !(u64::from(mark) << CLASS);
        marked
    }

    /// Marks the span as quota-charged.
    pub(crate) fn meter(&mut self) {
        self.mark(METERED);
    }

    /// Removes the mark. Returns whether there was one.
    pub(crate) fn unmeter(&mut self) -> bool {
        self.unmark(METERED)
    }

    /// Marks the span as having a pending ticket.
    pub(crate) fn owe(&mut self) {
        self.mark(EARLY);
    }

    /// Removes the mark. Returns whether there was one.
    pub(crate) fn forget_debt(&mut self) -> bool {
        self.unmark(EARLY)
    }

    /// Whether a queue's earlier work on the span may still run.
    #[inline]
    pub(crate) fn owes(&self) -> bool {
        self.class() & EARLY != 0
    }

    #[inline]
    pub(crate) fn is_metered(&self) -> bool {
        self.class() & METERED != 0
    }

    /// Whether the pool would give such a span to a request for `len` granules of `class`.
    pub(crate) fn serves(&self, class: u16, len: u32) -> bool {
        (self.class() & !MARKS, self.len()) == (class, len)
    }

    /// Whether the span has a reserved tail.
    pub(crate) fn is_growing(&self) -> bool {
        self.class() & !MARKS == GROWING
    }

    /// Makes the span as long as its block now is. Its class no longer says the length.
    pub(crate) fn lengthen(&mut self, len: u32) {
        let class = if self.is_growing() { GROWING } else { EXACT };
        self.shape = shape(len, class | self.class() & MARKS, self.arena());
    }

    /// Whether the span came straight from the device.
    #[inline]
    pub(crate) fn is_fallback(&self) -> bool {
        self.class() & !MARKS == FALLBACK
    }

    /// The record of the span's holder.
    #[inline(always)]
    pub(crate) fn record(&self) -> &AllocRecord {
        // SAFETY: record tables never move or drop a record before the pool's own end, and the pool ends only
        // when no span is held outside it.
        unsafe { self.record.as_ref() }
    }
}

/// What a request needs from a heap. Lengths are granules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanRequest {
    pub(crate) class: u16,
    pub(crate) len: u32,
    pub(crate) align: u32,
}

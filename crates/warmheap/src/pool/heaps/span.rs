//! A range of memory on its way between heap, caches and buffers.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::pool::heaps::records::AllocRecord;

/// The class of a range that is not rounded to one: too large for classes, or aligned by request.
pub(crate) const EXACT: u16 = EARLY - 2;
/// The class of a range of whole pages that has addresses kept behind it.
pub(crate) const GROWING: u16 = EARLY - 3;
/// The class of a range that came straight from the device.
pub(crate) const FALLBACK: u16 = EARLY - 1;
/// Marks beside the class. No cache knows such a class, so the buffer's free takes the long way, where
/// the marks are seen to.
const MARKS: u16 = METERED | EARLY;
/// The holder's tag has a quota.
const METERED: u16 = 1 << 15;
/// A queue has the range back before its earlier work on it is done.
const EARLY: u16 = 1 << 14;

/// Where a range begins, and the record of whoever will hold it. Two words, so that it is answered in registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanHead {
    record: NonNull<AllocRecord>,
    address: u64,
}

impl SpanHead {
    /// `record` belongs to a ledger of the pool that will hold every use of the range.
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

/// Everything needed to use a range and to give it back, in 24 bytes. Whoever has the `Span` owns
/// the memory: there is one for each block that a heap has handed out.
///
/// In three words, as ranges travel through memory: what has just been stored in parts cannot be
/// loaded as a whole without a wait of tens of cycles.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Span {
    record: NonNull<AllocRecord>,
    pub(crate) address: u64,
    /// From the lowest bit: 32 of the length in granules, 16 of the class with its marks, 16 of the heap.
    shape: u64,
}

const CLASS: u32 = 32;
const HEAP: u32 = 48;

#[inline(always)]
fn shape(len: u32, class: u16, heap: u16) -> u64 {
    u64::from(len) | u64::from(class) << CLASS | u64::from(heap) << HEAP
}

// SAFETY: the pointer leads to a `AllocRecord`, which is only read but for its atomics.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl Span {
    #[inline(always)]
    pub(crate) fn new(SpanHead { record, address }: SpanHead, len: u32, class: u16, heap: u16) -> Self {
        Self { record, address, shape: shape(len, class, heap) }
    }

    /// Granules.
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
    pub(crate) fn heap(&self) -> u16 {
        (self.shape >> HEAP) as u16
    }

    /// Whether the range is none for caches and heaps as it is: it has a mark, or came straight from the
    /// device.
    #[inline]
    pub(crate) fn is_special(&self) -> bool {
        // The marks are the bits above.
        self.class() >= FALLBACK
    }

    fn mark(&mut self, mark: u16) {
        self.shape |= u64::from(mark) << CLASS;
    }

    /// Removes a mark, and says whether there was one.
    fn unmark(&mut self, mark: u16) -> bool {
        let marked = self.class() & mark != 0;
        self.shape &= !(u64::from(mark) << CLASS);
        marked
    }

    /// Marks the range as held under a quota.
    pub(crate) fn meter(&mut self) {
        self.mark(METERED);
    }

    /// Removes the mark, and says whether there was one.
    pub(crate) fn unmeter(&mut self) -> bool {
        self.unmark(METERED)
    }

    /// Marks the range as owing a ticket.
    pub(crate) fn owe(&mut self) {
        self.mark(EARLY);
    }

    /// Removes the mark, and says whether there was one.
    pub(crate) fn forget_debt(&mut self) -> bool {
        self.unmark(EARLY)
    }

    /// Whether a queue's earlier work on the range may still run.
    #[inline]
    pub(crate) fn owes(&self) -> bool {
        self.class() & EARLY != 0
    }

    #[inline]
    pub(crate) fn is_metered(&self) -> bool {
        self.class() & METERED != 0
    }

    /// Whether a request for `len` granules of `class` would be given such a range.
    pub(crate) fn serves(&self, class: u16, len: u32) -> bool {
        (self.class() & !MARKS, self.len()) == (class, len)
    }

    /// Whether addresses are kept behind the range.
    pub(crate) fn is_growing(&self) -> bool {
        self.class() & !MARKS == GROWING
    }

    /// The range is as long as its block now, not as its class says.
    pub(crate) fn lengthen(&mut self, len: u32) {
        let class = if self.is_growing() { GROWING } else { EXACT };
        self.shape = shape(len, class | self.class() & MARKS, self.heap());
    }

    /// Whether the range came straight from the device.
    #[inline]
    pub(crate) fn is_fallback(&self) -> bool {
        self.class() & !MARKS == FALLBACK
    }

    /// The record of whoever holds the range.
    #[inline(always)]
    pub(crate) fn record(&self) -> &AllocRecord {
        // SAFETY: ledgers never move or drop a record before the pool's own end, and the pool ends
        // only when no range is held outside it.
        unsafe { self.record.as_ref() }
    }
}

/// What is wanted of a heap. Lengths are granules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanRequest {
    pub(crate) class: u16,
    pub(crate) len: u32,
    pub(crate) align: u32,
}

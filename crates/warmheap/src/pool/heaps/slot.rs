//! One heap of the pool: memory from the device, the books over it, and the lock around both.
//!
//! A heap may be some thread's home. That thread works on it without locked instructions; ranges
//! that others free are left in the heap's inbox, which is emptied by its owner when it next
//! allocates, and by anybody who takes the heap.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::device::Memory;
use crate::offsets::{Levels, Placed, RangeAllocator, allocate_below};
use crate::pool::accounting::device_calls::Held;
use crate::pool::heaps::fit_index::FitIndex;
use crate::pool::heaps::records::{AllocRecord, RecordTable};
use crate::pool::heaps::span::{GROWING, Span, SpanHead, SpanRequest};
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Biased, Mutex, Owner, Taken, lock};

/// The right to work on a heap as its owner. There is one for each heap that is a home; whoever holds
/// it is at home there.
#[derive(Debug)]
pub(crate) struct OwnHeap {
    index: u16,
    owner: Owner,
}

impl OwnHeap {
    /// The heap's place.
    #[inline(always)]
    pub(crate) fn index(&self) -> u16 {
        self.index
    }
}

/// A place for a heap. Places exist for the whole life of the pool; heaps come and go in them. On cache
/// lines of its own, two at a time as processors fetch them: the one beside it may be another thread's.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct HeapSlot {
    index: u16,
    /// log2 of the bytes in a granule.
    shift: u32,
    /// What may be known of the heap without its lock; right when somebody last left it.
    levels: AtomicU64,
    /// A bound on the longest free block; right when somebody other than the owner last left it.
    longest: AtomicU32,
    /// Where the pool keeps that for all heaps.
    holes: Arc<FitIndex>,
    body: Biased<Body>,
    /// Whether the heap is some thread's home. Advice: it says where a free should go.
    owned: AtomicBool,
    inbox: Mutex<Vec<Span>>,
    /// Granules in the inbox.
    mail: AtomicU32,
}

/// What is behind a place's lock.
#[derive(Debug, Default)]
struct Body {
    heap: Option<Heap>,
    /// Records by block number, of whichever heap is here: they outlive it.
    records: RecordTable,
}

/// What a slot holds.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) space: RangeAllocator,
    pub(crate) memory: Arc<dyn Memory>,
    pub(crate) elastic: bool,
    address: u64,
    /// Bytes that the device gave, or reserved where the heap grows in place.
    size: u64,
}

impl Heap {
    pub(crate) fn new(space: RangeAllocator, held: Held, elastic: bool) -> Self {
        let Held { memory, address, size } = held;
        Self { space, memory, elastic, address, size }
    }

    /// Bytes held from the device, where a granule is `1 << shift` bytes.
    pub(crate) fn held(&self, shift: u32) -> u64 {
        if self.elastic { u64::from(self.space.committed()) << shift } else { self.size }
    }

    /// The memory, and its address.
    pub(crate) fn place(&self) -> (Arc<dyn Memory>, u64) {
        (Arc::clone(&self.memory), self.address)
    }
}

impl HeapSlot {
    pub(crate) fn new(index: u16, shift: u32, holes: Arc<FitIndex>) -> Self {
        Self {
            index,
            shift,
            levels: AtomicU64::new(0),
            longest: AtomicU32::new(0),
            holes,
            body: Biased::new(Body::default()),
            owned: AtomicBool::new(false),
            inbox: Mutex::default(),
            mail: AtomicU32::new(0),
        }
    }

    /// What is committed and free, without taking the heap; what is in the inbox counts as free.
    pub(crate) fn levels(&self) -> Levels {
        let Levels { committed, free } = Levels::from_word(self.levels.load(Relaxed));
        Levels { committed, free: free.saturating_add(self.mail.load(Relaxed)).min(committed) }
    }

    /// A hint, without taking the heap: at least the length of the longest free block.
    #[inline]
    pub(crate) fn longest(&self) -> u32 {
        self.longest.load(Relaxed)
    }

    /// Makes the heap a home, that of whoever holds the answer; `None` if it is one.
    pub(crate) fn adopt(&self) -> Option<OwnHeap> {
        let owner = self.body.adopt()?;
        self.owned.store(true, Relaxed);
        Some(OwnHeap { index: self.index, owner })
    }

    pub(crate) fn is_home(&self) -> bool {
        self.owned.load(Relaxed)
    }

    /// Ends the home here.
    pub(crate) fn leave(&self, own: OwnHeap) {
        self.owned.store(false, Relaxed);
        self.body.leave(own.owner);
    }

    /// Works on the heap as its owner, without locked instructions unless another thread is at it.
    #[inline(always)]
    pub(crate) fn at_home<R>(&self, own: &mut OwnHeap, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        match self.body.enter(&mut own.owner) {
            Some(mut body) => self.open(&mut body, work),
            None => self.at_home_later(work),
        }
    }

    /// Out of line: seldom is another thread at an owner's heap.
    #[cold]
    #[inline(never)]
    fn at_home_later<R>(&self, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        self.with(work)
    }

    /// Works on the heap from any thread.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        self.taken(self.body.take(), work)
    }

    /// As [`HeapSlot::with`], without waiting: `None` if another thread is at the heap, or it is a home.
    #[inline]
    pub(crate) fn at_once<R>(&self, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> Option<R> {
        Some(self.taken(self.body.try_take()?, work))
    }

    #[inline(always)]
    fn taken<R>(&self, mut body: Taken<'_, Body>, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        let done = self.open(&mut body, work);
        let longest = body.heap.as_ref().map_or(0, |heap| heap.space.longest_at_most());
        // Mostly it is the same, and then nobody who looks is disturbed.
        let was = self.longest.load(Relaxed);
        if longest != was {
            self.longest.store(longest, Relaxed);
            self.holes.note(self.index, was, longest);
        }
        done
    }

    #[inline(always)]
    fn open<R>(&self, body: &mut Body, work: impl FnOnce(&mut HeapGuard<'_>) -> R) -> R {
        let mut open = HeapGuard { slot: self, body };
        if self.mail.load(Relaxed) > 0 {
            open.empty_inbox();
        }
        let done = work(&mut open);
        let levels = body.heap.as_ref().map_or(Levels::default(), |heap| heap.space.levels());
        self.levels.store(levels.into_word(), Relaxed);
        done
    }

    #[inline(always)]
    fn start(&self, records: &mut RecordTable, base: u64, placed: Placed) -> SpanHead {
        let address = base + (u64::from(placed.offset) << self.shift);
        SpanHead::new(records.record(placed.block), address)
    }

    fn range(&self, records: &mut RecordTable, base: u64, placed: Placed, want: SpanRequest) -> Span {
        Span::new(self.start(records, base, placed), want.len, want.class, self.index)
    }

    /// Gives back ranges without waiting for the heap's owner, if it has one. They are asked for while the
    /// heap or its inbox is locked: getting them must take no lock.
    pub(crate) fn release(&self, ranges: impl Iterator<Item = Span>) {
        if self.is_home() {
            let mut inbox = lock(&self.inbox);
            let before = inbox.len();
            inbox.extend(ranges);
            let len: u32 = inbox[before..].iter().map(Span::len).sum();
            self.mail.store(self.mail.load(Relaxed) + len, Relaxed);
        } else {
            self.with(|open| ranges.for_each(|range| open.release(range)));
        }
    }

    /// Puts a heap into an empty place.
    pub(crate) fn install(&self, mut heap: Heap) {
        heap.space.set_base((heap.address >> self.shift) as u32);
        self.with(|open| open.body.heap = Some(heap));
    }

    pub(crate) fn metadata_bytes(&self) -> usize {
        self.with(|open| {
            let books = open.heap().map_or(0, |heap| heap.space.metadata_bytes());
            books + open.body.records.metadata_bytes()
        })
    }
}

/// A slot that this thread is at.
#[derive(Debug)]
pub(crate) struct HeapGuard<'a> {
    slot: &'a HeapSlot,
    body: &'a mut Body,
}

impl HeapGuard<'_> {
    pub(crate) fn heap(&self) -> Option<&Heap> {
        self.body.heap.as_ref()
    }

    pub(crate) fn heap_mut(&mut self) -> Option<&mut Heap> {
        self.body.heap.as_mut()
    }

    /// Takes the heap out of its place.
    pub(crate) fn remove(&mut self) -> Option<Heap> {
        self.body.heap.take()
    }

    /// Takes the heap out of its place if it is as wanted.
    pub(crate) fn remove_if(&mut self, wanted: impl FnOnce(&Heap) -> bool) -> Option<Heap> {
        self.body.heap.take_if(|heap| wanted(heap))
    }

    /// Cuts `len` granules for a range at any address.
    #[inline(always)]
    pub(crate) fn begin(&mut self, len: u32) -> Option<SpanHead> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        let placed = heap.space.allocate_anywhere(len)?;
        Some(self.slot.start(records, heap.address, placed))
    }

    /// Cuts one range.
    #[inline(always)]
    pub(crate) fn allocate(&mut self, want: SpanRequest) -> Option<Span> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        let placed = heap.space.allocate(want.len, want.align)?;
        Some(self.slot.range(records, heap.address, placed, want))
    }

    /// As [`HeapGuard::allocate`], from a hole below `address`.
    pub(crate) fn allocate_below(&mut self, want: SpanRequest, address: u64) -> Option<Span> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        let limit = u32::try_from(address.checked_sub(heap.address)? >> self.slot.shift).ok()?;
        let placed = allocate_below(&mut heap.space, want.len, want.align, limit)?;
        Some(self.slot.range(records, heap.address, placed, want))
    }

    /// Cuts up to `count` neighbouring ranges, and at least one, which is returned. The others go
    /// to `keep`.
    pub(crate) fn allocate_some(
        &mut self,
        want: SpanRequest,
        count: u32,
        mut keep: impl FnMut(Span),
    ) -> Option<Span> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        let Some(first) = heap.space.allocate(want.len * count, want.align) else {
            return self.allocate(want);
        };
        let mut block = first.block;
        for _ in 1..count {
            let placed = heap.space.split_used(block, want.len);
            block = placed.block;
            keep(self.slot.range(records, heap.address, placed, want));
        }
        Some(self.slot.range(records, heap.address, first, want))
    }

    /// The range of a block that has just been handed out.
    pub(crate) fn range(&mut self, placed: Placed, want: SpanRequest) -> Option<Span> {
        let Body { heap: Some(heap), records } = &mut *self.body else { return None };
        Some(self.slot.range(records, heap.address, placed, want))
    }

    /// Gives back a range of this heap.
    #[inline(always)]
    pub(crate) fn release(&mut self, range: Span) {
        debug_assert_eq!(range.heap(), self.slot.index);
        let block = range.record().block();
        if range.class() == GROWING
            && let Some(heap) = &mut self.body.heap
        {
            heap.space.release_tail(block);
        }
        self.join(block);
    }

    /// Gives back the block of a range of this heap that does not grow.
    #[inline(always)]
    pub(crate) fn join(&mut self, block: u32) {
        if let Some(heap) = &mut self.body.heap {
            heap.space.release(block);
        }
    }

    /// The record of every block that is handed out.
    pub(crate) fn records(&self) -> impl Iterator<Item = &AllocRecord> {
        let used = self.heap().into_iter().flat_map(|heap| heap.space.used());
        used.filter_map(|placed| self.body.records.get(placed.block))
    }

    #[cold]
    fn empty_inbox(&mut self) {
        let mut inbox = lock(&self.slot.inbox);
        self.slot.mail.store(0, Relaxed);
        inbox.drain(..).for_each(|range| self.release(range));
    }
}

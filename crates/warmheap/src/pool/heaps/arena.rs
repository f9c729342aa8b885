//! An arena: some heaps of the pool, the metadata about them, and the lock around both.
//!
//! A request is cut from the tightest free block of all heaps of an arena, however many there are. A growing
//! heap has an arena of its own.
//!
//! A thread may own an arena. The owner works on it without locked instructions. Other threads leave the
//! spans that they free in the arena's remote free list. The owner empties that list when it next allocates,
//! and so does any thread that takes the arena. An arena must never be touched without its lock.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::offsets::Levels;
use crate::pool::heaps::arena_guard::{ArenaGuard, Body, Heap};
use crate::pool::heaps::fit_index::FitIndex;
use crate::pool::heaps::span::Span;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Biased, Mutex, Owner, Taken, lock};

/// The right to work on an arena as its owner. Each thread-owned arena has exactly one, and the thread that
/// holds it is the owner.
#[derive(Debug)]
pub(crate) struct OwnHeap {
    index: u16,
    owner: Owner,
}

impl OwnHeap {
    /// The index of the arena.
    #[inline(always)]
    pub(crate) fn index(&self) -> u16 {
        self.index
    }
}

/// See the module's documentation. Arenas exist for the whole life of the pool, and heaps come and go in
/// them. An arena has cache lines of its own, two at a time as processors fetch them, because the arena
/// beside it may be another thread's.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Arena {
    index: u16,
    /// log2 of the bytes in a granule.
    shift: u32,
    /// The levels of all heaps, to be read without the lock. They were right when a thread last left the arena.
    levels: AtomicU64,
    /// A bound on the longest free block. It was right when a thread other than the owner last left the arena.
    longest: AtomicU32,
    /// A bound on the longest heap without used blocks, as old as `longest`.
    spare: AtomicU32,
    /// The pool's index of `longest` over all arenas.
    holes: Arc<FitIndex>,
    body: Biased<Body>,
    /// Whether a thread owns the arena. This is advice: it says where a free should go.
    owned: AtomicBool,
    /// The threads that share the arena and cut from it first.
    residents: AtomicU32,
    remote_frees: Mutex<Vec<Span>>,
    /// The granules in the remote free list.
    remote_granules: AtomicU32,
}

impl Arena {
    pub(crate) fn new(index: u16, shift: u32, holes: Arc<FitIndex>) -> Self {
        Self {
            index,
            shift,
            levels: AtomicU64::new(0),
            longest: AtomicU32::new(0),
            spare: AtomicU32::new(0),
            holes,
            body: Biased::new(Body::new()),
            owned: AtomicBool::new(false),
            residents: AtomicU32::new(0),
            remote_frees: Mutex::default(),
            remote_granules: AtomicU32::new(0),
        }
    }

    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// The committed and the free granules, read without taking the arena. Spans in the remote free list count
    /// as free.
    pub(crate) fn levels(&self) -> Levels {
        let Levels { committed, free } = Levels::from_word(self.levels.load(Relaxed));
        Levels { committed, free: free.saturating_add(self.remote_granules.load(Relaxed)).min(committed) }
    }

    /// A hint, read without taking the arena: at least the length of the longest free block.
    #[inline]
    pub(crate) fn longest(&self) -> u32 {
        self.longest.load(Relaxed)
    }

    /// A hint, read without taking the arena: whether a heap of `len` granules may be unused.
    #[inline]
    pub(crate) fn may_spare(&self, len: u32) -> bool {
        self.spare.load(Relaxed) >= len
    }

    /// Makes the caller the owner of the arena. Returns `None` if the arena has an owner already.
    pub(crate) fn adopt(&self) -> Option<OwnHeap> {
        let owner = self.body.adopt()?;
        self.owned.store(true, Relaxed);
        Some(OwnHeap { index: self.index, owner })
    }

    /// Whether the hints may be behind: a thread owns the arena, or spans are in its remote free list.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_owned() || self.remote_granules.load(Relaxed) > 0
    }

    pub(crate) fn is_owned(&self) -> bool {
        self.owned.load(Relaxed)
    }

    /// Ends the ownership of this arena.
    pub(crate) fn leave(&self, own: OwnHeap) {
        self.owned.store(false, Relaxed);
        self.body.leave(own.owner);
    }

    /// Works on the arena as its owner. Uses no locked instructions unless another thread is in it.
    #[inline(always)]
    pub(crate) fn as_owner<R>(&self, own: &mut OwnHeap, work: impl FnOnce(&mut ArenaGuard<'_>) -> R) -> R {
        match self.body.enter(&mut own.owner) {
            Some(mut body) => self.open(&mut body, work),
            None => self.as_owner_later(work),
        }
    }

    /// Out of line, because another thread is seldom in an arena that has an owner.
    #[cold]
    #[inline(never)]
    fn as_owner_later<R>(&self, work: impl FnOnce(&mut ArenaGuard<'_>) -> R) -> R {
        self.with(work)
    }

    /// Works on the arena from any thread.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut ArenaGuard<'_>) -> R) -> R {
        self.taken(self.body.take(), work)
    }

    /// As [`Arena::with`], without waiting. Returns `None` if another thread is in the arena or the arena
    /// has an owner.
    #[inline]
    pub(crate) fn at_once<R>(&self, work: impl FnOnce(&mut ArenaGuard<'_>) -> R) -> Option<R> {
        Some(self.taken(self.body.try_take()?, work))
    }

    #[inline(always)]
    fn taken<R>(&self, mut body: Taken<'_, Body>, work: impl FnOnce(&mut ArenaGuard<'_>) -> R) -> R {
        let done = self.open(&mut body, work);
        let longest = body.space.longest_at_most();
        // The bound is mostly unchanged. Skipping the store then leaves the readers' cache lines alone.
        let was = self.longest.load(Relaxed);
        if longest != was {
            self.longest.store(longest, Relaxed);
            self.holes.note(self.index, was, longest);
        }
        if body.spare != self.spare.load(Relaxed) {
            self.spare.store(body.spare, Relaxed);
        }
        done
    }

    #[inline(always)]
    fn open<R>(&self, body: &mut Body, work: impl FnOnce(&mut ArenaGuard<'_>) -> R) -> R {
        let mut open = ArenaGuard::new(self.index, self.shift, body);
        if self.remote_granules.load(Relaxed) > 0 {
            self.take_in_remote_frees(&mut open);
        }
        let done = work(&mut open);
        self.levels.store(body.space.levels().into_word(), Relaxed);
        done
    }

    /// Gives back spans without waiting for another thread that is in the arena, or owns it: they go to the
    /// remote free list then. The iterator runs while the arena or that list is locked, so it must take no
    /// lock.
    pub(crate) fn release(&self, spans: impl Iterator<Item = Span>) {
        let mut spans = spans;
        if self.at_once(|open| spans.by_ref().for_each(|span| open.release(span))).is_none() {
            let mut remote_frees = lock(&self.remote_frees);
            let before = remote_frees.len();
            remote_frees.extend(spans);
            let len: u32 = remote_frees[before..].iter().map(Span::len).sum();
            self.remote_granules.store(self.remote_granules.load(Relaxed) + len, Relaxed);
        }
    }

    #[cold]
    fn take_in_remote_frees(&self, open: &mut ArenaGuard<'_>) {
        let mut remote_frees = lock(&self.remote_frees);
        self.remote_granules.store(0, Relaxed);
        remote_frees.drain(..).for_each(|span| open.release(span));
    }

    /// Adds a heap. Returns it if the arena has too many.
    pub(crate) fn install(&self, heap: Heap) -> Result<(), Heap> {
        self.with(|open| open.install(heap))
    }

    /// The threads that cut from this arena first, without owning it.
    pub(crate) fn residents(&self) -> u32 {
        self.residents.load(Relaxed)
    }

    /// Counts one more such thread, if there were `residents` so far.
    pub(crate) fn settle_in(&self, residents: u32) -> bool {
        self.residents.compare_exchange(residents, residents + 1, Relaxed, Relaxed).is_ok()
    }

    pub(crate) fn move_out(&self) {
        self.residents.fetch_sub(1, Relaxed);
    }
}

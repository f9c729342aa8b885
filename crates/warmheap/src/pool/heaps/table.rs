//! The table of the pool's arenas, and the choice of the arena that serves a request.
//!
//! Every arena has its own lock, and no lock covers all of them. The choice reads hints, which need no lock.
//! The table skips an arena that turns out not to fit. A thread must never hold two arenas at once.
#![forbid(unsafe_code)]

use std::iter;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::config::Strategy;
use crate::pool::heaps::arena::{Arena, OwnHeap};
use crate::pool::heaps::arena_guard::{ArenaGuard, Heap};
use crate::pool::heaps::fit_index::{FitIndex, MAX_ARENAS};
use crate::pool::heaps::span::{Span, SpanRequest};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct HeapTable {
    arenas: Box<[Arena]>,
    holes: Arc<FitIndex>,
    /// Arenas up to here may have a heap; the others need not be looked at.
    known: AtomicUsize,
    strategy: Strategy,
    turn: AtomicUsize,
}

/// A set of arenas already tried.
#[derive(Debug, Default, Clone, Copy)]
struct Tried(u64);

impl Tried {
    fn insert(&mut self, arena: usize) {
        self.0 |= 1 << arena;
    }

    fn contains(self, arena: usize) -> bool {
        self.0 & 1 << arena != 0
    }
}

impl HeapTable {
    /// A table of `arenas` arenas, or of [`MAX_ARENAS`] if that is less.
    pub(crate) fn new(arenas: usize, shift: u32, strategy: Strategy) -> Self {
        let holes = Arc::<FitIndex>::default();
        let arena = |index| Arena::new(index as u16, shift, Arc::clone(&holes));
        let arenas = (0..arenas.min(MAX_ARENAS)).map(arena).collect();
        Self { arenas, holes, known: AtomicUsize::new(0), strategy, turn: AtomicUsize::new(0) }
    }

    /// The arenas that may have a heap.
    pub(crate) fn arenas(&self) -> &[Arena] {
        &self.arenas[..self.known.load(Acquire)]
    }

    /// Adds a heap to an arena. Returns the heap if the arena has too many.
    pub(crate) fn install(&self, arena: u16, heap: Heap) -> Result<(), Heap> {
        self.open(arena);
        self.arena(arena).install(heap)
    }

    /// Counts an arena among those that may have a heap.
    pub(crate) fn open(&self, arena: u16) {
        self.known.fetch_max(usize::from(arena) + 1, Release);
    }

    #[inline(always)]
    pub(crate) fn arena(&self, index: u16) -> &Arena {
        &self.arenas[usize::from(index)]
    }

    /// Works on an arena as its owner; see [`Arena::as_owner`].
    #[inline(always)]
    pub(crate) fn as_owner<R>(&self, own: &mut OwnHeap, work: impl FnOnce(&mut ArenaGuard<'_>) -> R) -> R {
        self.arena(own.index()).as_owner(own, work)
    }

    /// The arena with the fewest heaps. A growing heap needs one that has none.
    pub(crate) fn emptiest(&self) -> (u16, usize) {
        let heaps = |arena: &Arena| arena.with(|open| open.heaps().count());
        let known = (0..).zip(self.arenas()).map(|(index, arena)| (index, heaps(arena)));
        let known = known.min_by_key(|(_, heaps)| *heaps);
        let new = self.arenas.get(self.arenas().len()).map(|arena| (arena.index(), 0));
        known.filter(|(_, heaps)| *heaps == 0).or(new).or(known).unwrap_or((0, 0))
    }

    /// Lets the calling thread reside in the arena that the fewest threads reside in, among those that `suits`
    /// accepts.
    pub(crate) fn settle_in(&self, suits: impl Fn(&Arena) -> bool) -> Option<u16> {
        loop {
            let suiting = self.arenas.iter().filter(|arena| suits(arena));
            let (residents, arena) =
                suiting.map(|arena| (arena.residents(), arena)).min_by_key(|(residents, _)| *residents)?;
            // Threads that come at the same time would all choose the same arena.
            if arena.settle_in(residents) {
                self.open(arena.index());
                return Some(arena.index());
            }
        }
    }

    /// The arenas except `residence` that may have an unused heap of `len` granules.
    #[inline]
    pub(crate) fn sparing(&self, residence: u16, len: u32) -> impl Iterator<Item = &Arena> {
        self.arenas().iter().filter(move |arena| arena.index() != residence && arena.may_spare(len))
    }

    /// Takes a span from the arena `residence`, else from the one that the strategy prefers, else from any other
    /// that fits.
    pub(crate) fn allocate(&self, want: SpanRequest, residence: Option<u16>) -> Option<Span> {
        let mut cut = |open: &mut ArenaGuard<'_>| open.allocate(want);
        self.allocate_at(want, residence, &mut cut)
            .or_else(|| self.allocate_elsewhere(want, residence, &mut cut))
    }

    /// Cuts a span out of the arena `residence`, if it seems to have room.
    pub(crate) fn allocate_at(
        &self,
        want: SpanRequest,
        residence: Option<u16>,
        cut: &mut impl FnMut(&mut ArenaGuard<'_>) -> Option<Span>,
    ) -> Option<Span> {
        let residence = self.arena(residence?);
        if residence.longest() >= want.len { residence.with(cut) } else { None }
    }

    /// Cuts a span out of any arena but `residence`. First passes over arenas that another thread is in.
    pub(crate) fn allocate_elsewhere(
        &self,
        want: SpanRequest,
        residence: Option<u16>,
        cut: &mut impl FnMut(&mut ArenaGuard<'_>) -> Option<Span>,
    ) -> Option<Span> {
        for waits in [false, true] {
            let mut tried = Tried::default();
            residence.into_iter().for_each(|residence| tried.insert(residence.into()));
            while let Some(arena) = self.choose(want.len, &mut tried) {
                let found = if waits { arena.with(&mut *cut) } else { arena.at_once(&mut *cut).flatten() };
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// As [`HeapTable::allocate`], but looks at every free block of every arena that may fit.
    pub(crate) fn allocate_thoroughly(&self, want: SpanRequest) -> Option<Span> {
        let mut fitting = self.arenas().iter().filter(|arena| arena.longest() >= want.len);
        fitting.find_map(|arena| arena.with(|open| open.allocate_thoroughly(want)))
    }

    /// The arena whose longest free block is shortest, among those that may fit; of several the oldest, so that
    /// it fills up and the pool may give back the heaps of younger ones.
    fn tightest(&self, len: u32, tried: Tried) -> Option<usize> {
        let mut octaves = self.holes.from(len);
        octaves.find_map(|arenas| {
            let longest = |index: usize| (self.arenas[index].longest(), index);
            let fitting = ones(arenas & !tried.0).map(longest).filter(|(longest, _)| *longest >= len);
            // All that are in the next octaves are longer.
            fitting.min().map(|(_, index)| index)
        })
    }

    /// The arenas that may have room, except those in `tried`, with bounds on their longest free blocks.
    fn fitting(&self, len: u32, tried: Tried) -> impl Iterator<Item = (usize, u32)> {
        let hints = self.arenas().iter().map(Arena::longest).enumerate();
        hints.filter(move |(index, longest)| *longest >= len && !tried.contains(*index))
    }

    /// As [`HeapTable::allocate`], without waiting for another thread. Returns `None` if the first choice
    /// cannot serve the request.
    pub(crate) fn allocate_at_once(&self, want: SpanRequest, residence: Option<u16>) -> Option<Span> {
        let arena = match residence {
            Some(residence) => self.arena(residence),
            None => self.choose(want.len, &mut Tried::default())?,
        };
        arena.at_once(|open| open.allocate(want))?
    }

    /// The free granules in all heaps, read without disturbing any thread. What threads hold back counts as
    /// used.
    pub(crate) fn free(&self) -> u64 {
        self.arenas().iter().map(|arena| u64::from(arena.levels().free)).sum()
    }

    /// The used granules in all heaps, read without disturbing any thread.
    pub(crate) fn used(&self) -> u64 {
        self.arenas().iter().map(|arena| u64::from(arena.levels().used())).sum()
    }

    /// The number of threads that have heaps of their own. Each has two.
    pub(crate) fn owners(&self) -> usize {
        self.arenas().iter().filter(|arena| arena.is_owned()).count() / 2
    }

    /// Brings the hints of all arenas up to date.
    pub(crate) fn refresh_hints(&self) {
        self.arenas().iter().filter(|arena| arena.is_behind()).for_each(|arena| arena.with(|_| ()));
    }

    /// Gives spans back to their arenas. The iterator runs under locks; see [`Arena::release`].
    pub(crate) fn release(&self, spans: impl IntoIterator<Item = Span>) {
        let mut spans = spans.into_iter().peekable();
        while let Some(arena) = spans.peek().map(Span::arena) {
            // One visit returns all the spans that follow for the same arena.
            self.arena(arena).release(iter::from_fn(|| spans.next_if(|span| span.arena() == arena)));
        }
    }

    /// The next arena to try. One that seems to fit may not; the caller then asks again.
    fn choose(&self, len: u32, tried: &mut Tried) -> Option<&Arena> {
        let fitting = |tried| self.fitting(len, tried);
        let index = match self.strategy {
            Strategy::RoundRobin => {
                // Turns are advice: two threads that read the same one do no harm.
                let turn = self.turn.load(Relaxed);
                let mut in_turn = fitting(*tried).filter(|(index, _)| *index >= turn);
                let (index, _) = in_turn.next().or_else(|| fitting(*tried).next())?;
                self.turn.store(index + 1, Relaxed);
                index
            }
            Strategy::LeastUsed => {
                fitting(*tried).max_by_key(|(index, _)| self.arenas[*index].levels().free)?.0
            }
            Strategy::BestFit => self.tightest(len, *tried)?,
        };
        tried.insert(index);
        Some(&self.arenas[index])
    }
}

/// The positions of the ones in a word, highest first.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    iter::from_fn(move || {
        let place = word.checked_ilog2()?;
        word ^= 1 << place;
        Some(place as usize)
    })
}

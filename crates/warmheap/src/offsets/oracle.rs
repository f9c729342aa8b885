//! The engine against books that cannot be wrong: a sorted list of blocks, merged by looking at
//! every pair.
//!
//! Random programs run on both, and after every step every figure and every link is compared. The
//! number of steps is `WARMHEAP_ENGINE_OPS`, 200,000 by default. Programs are made from seeds
//! 0, 1, 2, ...; a failure names its seed and step, and the same seed always makes the same program.

mod growing;

use super::allocator::LOOK;
use super::bins::{bin_end, bin_of};
use super::boundary::State;
use super::{NONE, PageRun, RangeAllocator, segments};

/// A stretch of granules; held blocks are told apart by the engine's name for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    offset: u32,
    len: u32,
    state: State,
}

impl Stretch {
    fn end(&self) -> u32 {
        self.offset + self.len
    }

    fn contains(&self, offset: u32, len: u32) -> bool {
        self.offset <= offset && u64::from(offset) + u64::from(len) <= u64::from(self.end())
    }
}

/// The naive books.
#[derive(Debug)]
struct Oracle(Vec<Stretch>);

impl Oracle {
    fn of(&self, state: State) -> impl Iterator<Item = &Stretch> {
        self.0.iter().filter(move |stretch| stretch.state == state)
    }

    fn total(&self, state: State) -> u32 {
        self.of(state).map(|stretch| stretch.len).sum()
    }

    fn at(&self, offset: u32) -> usize {
        self.0.partition_point(|stretch| stretch.end() <= offset)
    }

    /// Turns `[offset, offset + len)`, inside one stretch that is `from`, into `to`.
    fn turn(&mut self, offset: u32, len: u32, from: State, to: State) {
        let place = self.at(offset);
        let whole = self.0[place];
        assert!(whole.state == from && whole.contains(offset, len), "{offset}+{len} {from:?} in {whole:?}");
        let parts = [
            (whole.offset, offset - whole.offset, from),
            (offset, len, to),
            (offset + len, whole.end() - offset - len, from),
        ];
        let parts = parts.map(|(offset, len, state)| Stretch { offset, len, state });
        self.0.splice(place..=place, parts.into_iter().filter(|part| part.len > 0));
        let mergeable = |a: &Stretch, b: &Stretch| {
            a.state == b.state && matches!(a.state, State::Free | State::Decommitted)
        };
        self.0.dedup_by(|next, kept| {
            let merged = mergeable(kept, next);
            kept.len += if merged { next.len } else { 0 };
            merged
        });
    }

    /// Cuts a used stretch in two.
    fn split(&mut self, offset: u32, len: u32) {
        let place = self.at(offset);
        let whole = self.0[place];
        assert!(whole.offset == offset && whole.state == State::Used && len < whole.len);
        self.0[place].len = len;
        self.0.insert(place + 1, Stretch { offset: offset + len, len: whole.len - len, ..whole });
    }

    /// Whether the engine has no excuse for refusing: it looks at a few blocks of each size's bin,
    /// and only a full look at a bin can be held to finding what is there.
    fn must_fit(&self, len: u32, align: u32, base: u32) -> bool {
        let fits = |block: &&Stretch| {
            let address = u64::from(base) + u64::from(block.offset);
            let start = address.next_multiple_of(align.into());
            start + u64::from(len) <= address + u64::from(block.len)
        };
        let surely = u64::from(len) + u64::from(align) - 1;
        let crowd = |bin: usize| self.of(State::Free).filter(|block| bin_of(block.len) == bin).count();
        self.of(State::Free).filter(fits).any(|block| {
            let bin = bin_of(block.len);
            u32::try_from(surely).is_ok_and(|surely| bin > bin_of(surely))
                || bin_of(len) == bin && len < 64 && align == 1
                || crowd(bin) <= LOOK
        })
    }
}

/// An engine, its oracle, and the blocks that the program holds.
struct Run {
    space: RangeAllocator,
    oracle: Oracle,
    /// Block and offset.
    held: Vec<(u32, u32)>,
    len: u32,
    page: u32,
    base: u32,
    /// How many blocks the program likes to hold.
    crowd: usize,
    rng: fastrand::Rng,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let page = 1 << rng.u32(0..14);
        // From one page to everything that 32 bits can count.
        let most = u32::MAX / page;
        let pages = (most >> rng.u32(0..most.ilog2() + 1)).max(1);
        let len = pages * page;
        let oracle = Oracle(vec![Stretch { offset: 0, len, state: State::Decommitted }]);
        let mut space = RangeAllocator::new();
        let base = rng.u32(..);
        segments::add(&mut space, len, base);
        Self { space, oracle, held: Vec::new(), len, page, base, crowd: rng.usize(4..64), rng }
    }

    /// A length whose logarithm is uniform, up to a share of the space that lets many live.
    fn some_len(&mut self) -> u32 {
        let most = (self.len / 8).max(1);
        let bits = self.rng.u32(0..=most.ilog2());
        self.rng.u32(1..=(1 << bits).min(most))
    }

    fn step(&mut self) {
        // Mostly taking while few blocks are held, mostly giving while many are.
        let few = self.held.len() < self.crowd;
        match self.rng.u8(0..100) {
            0..=7 => self.grow(),
            8..=13 => self.trim(),
            14..=15 if few => self.take_batch(),
            16..=17 if few => self.settle(),
            18..=20 => self.extend(),
            21..=28 => {
                let align = 1 << self.rng.u32(0..12);
                self.take(align);
            }
            29..=66 if few => self.take(1),
            29..=40 => self.take(1),
            _ => self.give(),
        }
        self.compare();
    }

    fn take(&mut self, align: u32) {
        let len = self.some_len();
        let block = self.space.best_fit(len);
        let Some(placed) = self.space.allocate(len, align) else {
            assert!(!self.oracle.must_fit(len, align, self.base), "{len} at {align} was refused");
            return;
        };
        let address = u64::from(self.base) + u64::from(placed.offset);
        assert!(address.is_multiple_of(align.into()), "{placed:?} is not at a multiple of {align}");
        if align == 1 {
            let from = self.oracle.0[self.oracle.at(placed.offset)];
            assert_eq!(block, Some(from.len), "best_fit and allocate disagree about {len}");
        }
        self.oracle.turn(placed.offset, len, State::Free, State::Used);
        self.held.push((placed.block, placed.offset));
    }

    /// As the pool fills a cache: one cut for several ranges of a size.
    fn take_batch(&mut self) {
        let count = self.rng.u32(2..=16);
        let len = (self.some_len() / count).max(1);
        let Some(first) = self.space.allocate(len * count, 1) else { return };
        self.oracle.turn(first.offset, len * count, State::Free, State::Used);
        let mut last = first;
        for _ in 1..count {
            self.oracle.split(last.offset, len);
            let rest = self.space.split_used(last.block, len);
            assert_eq!(rest.offset, last.offset + len);
            self.held.push((last.block, last.offset));
            last = rest;
        }
        self.held.push((last.block, last.offset));
    }

    fn give(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (block, offset) = self.held.swap_remove(self.rng.usize(0..self.held.len()));
        self.space.release_tail(block);
        self.forsaken(offset);
        self.space.release(block);
        let len = self.oracle.0[self.oracle.at(offset)].len;
        self.oracle.turn(offset, len, State::Used, State::Free);
    }

    fn grow(&mut self) {
        let (len, page) = (self.some_len(), self.page);
        let Some(run) = self.space.plan_growth(len, page) else {
            assert_eq!(self.least_growth(len), None, "no way was found to grow by {len}");
            return;
        };
        self.check_page_run(run, State::Decommitted);
        assert_eq!(Some(run.len), self.least_growth(len), "{run:?} is not the least for {len}");
        let wide = self.space.widened(run, self.rng.u32(0..4) * page, page);
        self.check_page_run(wide, State::Decommitted);
        assert!(wide.offset <= run.offset && run.offset + run.len <= wide.offset + wide.len);
        self.commit(wide);
        let free = self.oracle.0[self.oracle.at(wide.offset)];
        assert!(free.len >= len, "{wide:?} made {free:?}, which does not hold {len}");
    }

    fn commit(&mut self, PageRun { block, offset, len }: PageRun) {
        self.space.commit(block, offset, len);
        self.oracle.turn(offset, len, State::Decommitted, State::Free);
    }

    /// The fewest granules to commit, in whole pages, for a free block of `len` to come about.
    fn least_growth(&self, len: u32) -> Option<u32> {
        let stretches = &self.oracle.0;
        let free = |place: Option<usize>| {
            let neighbour = place.and_then(|place| stretches.get(place));
            neighbour.filter(|stretch| stretch.state == State::Free).map_or(0, |stretch| stretch.len)
        };
        let ways = (0..stretches.len())
            .filter(|place| stretches[*place].state == State::Decommitted)
            .flat_map(|place| {
                let (below, above) = (free(place.checked_sub(1)), free(Some(place + 1)));
                let gap = stretches[place].len;
                let pages = |have: u32| len.saturating_sub(have).max(1).next_multiple_of(self.page);
                let joined = u64::from(below) + u64::from(gap) + u64::from(above) >= u64::from(len);
                [pages(below), pages(above), if joined { gap } else { u32::MAX }]
                    .into_iter()
                    .filter(move |way| *way <= gap)
            });
        ways.min()
    }

    fn trim(&mut self) {
        let (want, page) = (self.some_len(), self.page);
        let growing = if self.rng.bool() { self.space.plan_growth(want, page) } else { None };
        let spared = |block: &Stretch| {
            let gap = growing.map(|run| self.oracle.0[self.oracle.at(run.offset)]);
            gap.is_some_and(|gap| gap.end() == block.offset || block.end() == gap.offset)
        };
        let pages = |block: &Stretch| (block.end() / page).saturating_sub(block.offset.div_ceil(page));
        let eligible = self.oracle.of(State::Free).filter(|block| !spared(block) && pages(block) > 0);
        let highest = eligible.map(|block| bin_of(block.len)).max();
        let planned = self.space.plan_trim(want, page, growing.map(|run| run.block));
        let Some(run) = planned else {
            assert_eq!(highest, None, "no page was found to trim");
            return;
        };
        self.check_page_run(run, State::Free);
        let block = self.oracle.0[self.oracle.at(run.offset)];
        assert!(!spared(&block) && Some(bin_of(block.len)) == highest, "{run:?} of {block:?}");
        assert!(run.len <= want.next_multiple_of(page));
        let gap = self.space.decommit(run.block, run.offset, run.len);
        self.oracle.turn(run.offset, run.len, State::Free, State::Decommitted);
        if self.rng.u8(0..4) == 0 {
            // The device refused after all.
            self.commit(PageRun { block: gap, ..run });
        }
    }

    fn check_page_run(&self, PageRun { block, offset, len }: PageRun, state: State) {
        let real = self.space.blocks.get(block);
        let stretch = self.oracle.0[self.oracle.at(offset)];
        assert!(len > 0 && offset.is_multiple_of(self.page) && len.is_multiple_of(self.page));
        assert!(stretch.state == state && stretch.contains(offset, len), "{offset}+{len} in {stretch:?}");
        assert_eq!((real.offset, real.len, real.state), (stretch.offset, stretch.len, stretch.state));
    }

    /// Compares everything the engine knows with the oracle.
    fn compare(&self) {
        let Self { space, oracle, .. } = self;
        let free = oracle.total(State::Free);
        let gap = oracle.total(State::Decommitted) + oracle.total(State::Tail);
        assert_eq!(space.free_len(), free);
        assert_eq!(space.committed(), self.len - gap);
        assert_eq!(space.used_len(), self.len - gap - free);
        assert_eq!(space.used_blocks() as usize, self.held.len());
        let largest = oracle.of(State::Free).map(|block| block.len).max().unwrap_or(0);
        assert_eq!(space.largest_free(), largest);
        let bound = if largest == 0 { 0 } else { bin_end(bin_of(largest)) };
        assert_eq!(space.longest_at_most(), bound);

        // The address order, both ways. Merging is compared with it: the oracle's is complete.
        let (first, _) = space.blocks.iter().find(|(_, block)| block.offset == 0).unwrap();
        let (mut index, mut before) = (first, NONE);
        for stretch in &oracle.0 {
            let block = space.blocks.get(index);
            assert_eq!(Stretch { offset: block.offset, len: block.len, state: block.state }, *stretch);
            assert_eq!(block.before, before);
            (before, index) = (index, block.after);
        }
        assert_eq!(index, NONE);

        for (bins, state) in [(&space.free, State::Free), (&space.decommitted, State::Decommitted)] {
            let mut listed = 0;
            let mut bin = bins.at_or_above(0);
            while let Some(found) = bin {
                for (_, block) in space.blocks.list(bins.head(found)) {
                    assert_eq!((block.state, bin_of(block.len)), (state, found));
                    listed += 1;
                }
                bin = bins.at_or_above(found + 1);
            }
            assert_eq!(listed, oracle.of(state).count());
        }
    }

    /// Ends the program: everything comes back, and is one piece again.
    fn finish(mut self) {
        while !self.held.is_empty() {
            self.give();
        }
        let decommitted = self.space.blocks.iter().filter(|(_, block)| block.state == State::Decommitted);
        let decommitted: Vec<_> =
            decommitted.map(|(block, gap)| PageRun { block, offset: gap.offset, len: gap.len }).collect();
        decommitted.into_iter().for_each(|gap| self.commit(gap));
        self.compare();
        assert_eq!(self.oracle.0, [Stretch { offset: 0, len: self.len, state: State::Free }]);
    }
}

#[test]
fn random_programs_agree_with_the_oracle() {
    let ops = std::env::var("WARMHEAP_ENGINE_OPS").map_or(200_000, |ops| ops.parse::<u64>().unwrap());
    const STEPS: u64 = 5_000;
    for seed in 0..ops.div_ceil(STEPS) {
        let step = std::cell::Cell::new(0);
        let named = std::panic::AssertUnwindSafe(|| {
            let mut run = Run::new(seed);
            for number in 0..STEPS {
                step.set(number);
                run.step();
            }
            run.finish();
        });
        if let Err(panic) = std::panic::catch_unwind(named) {
            eprintln!("seed {seed}, step {}", step.get());
            std::panic::resume_unwind(panic);
        }
    }
}

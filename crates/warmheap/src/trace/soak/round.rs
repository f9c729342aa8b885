//! One round: a pool with settings of its own, played on by several threads until it closes.
//!
//! Threads stop together after each leg, and while all stand still the pool's books are compared
//! with those kept here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::Soak;
use super::figures::{Figures, count};
use super::finding::{Finding, same};
use super::lanes::{Lane, Work};
use super::oracle::Oracle;
use super::player::Player;
use super::setting::{METERED, Setting};
use super::strain::{Strain, Strained};
use crate::device::{Device, DeviceError};
use crate::trace::Program;
use crate::{Buffer, Pool, Tag};

/// Operations of each thread in a leg, and the most legs in a round.
const LEG: usize = 20_000;
const LEGS: u32 = 12;
/// Operations of a thread between two signs of life.
const BEAT: usize = 1_000;

/// A buffer, and what is known of it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) buffer: Buffer,
    pub(super) number: u64,
    /// The queue it was asked for by, which may still use the memory: the lane and the queue there.
    pub(super) queue: Option<(usize, u64)>,
}

/// What all threads of a round share.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) pool: Pool,
    pub(super) setting: Setting,
    pub(super) strain: Arc<Strain>,
    pub(super) figures: Arc<Figures>,
    pub(super) oracle: Oracle,
    pub(super) lanes: Vec<Lane>,
    pub(super) tags: [Tag; 3],
    threads: usize,
    /// Queues made so far.
    queues: AtomicU64,
    /// Buffers left for any thread to free.
    around: Mutex<Vec<Held>>,
    /// Counts as the pool's statistics count, since they were reset.
    pub(super) allocated: AtomicU64,
    pub(super) fallbacks: AtomicU64,
    pub(super) refused: AtomicU64,
    /// Buffers that came and went within a call; perhaps by fallback, which the call does not say.
    pub(super) unseen: AtomicU64,
    /// Buffers that were alive then.
    before: AtomicU64,
    finding: Mutex<Option<Finding>>,
    over: AtomicBool,
}

impl Round {
    /// Starts a pool; `None` if the device, under strain, refused.
    pub(super) fn start(
        soak: &Soak,
        programs: &[Program],
        device: &Arc<dyn Device>,
        figures: &Arc<Figures>,
        rng: &mut Rng,
    ) -> Result<Option<Self>, Finding> {
        let threads = soak.threads.max(1);
        let asked = (0..threads).map(|thread| programs[thread % programs.len()].summary());
        let demand = asked.map(|summary| summary.peak_live_bytes).fold(0, u64::saturating_add);
        let setting = Setting::new(&device.limits(), demand, rng);
        let strain = Strain::new(Arc::clone(figures));
        if rng.u8(..4) == 0 {
            strain.fail(rng.u64(1..8));
        }
        let strained = Strained { inner: Arc::clone(device), strain: Arc::clone(&strain) };
        let pool = match Pool::new(Arc::new(strained), setting.config.clone()) {
            Ok(pool) => pool,
            Err(error) if strain.troubles() == 0 => return Err(Finding::Start(error)),
            Err(_) => return nothing_left(&strain).map(|()| None),
        };
        let told = Arc::clone(figures);
        pool.on_pressure(move |pool, _| {
            count(&told.calls_for_help);
            // It may fail, as any trim may.
            let _ = pool.trim(0);
        });
        let queues = soak.queues.max(1) as u64;
        let zero = || AtomicU64::new(0);
        Ok(Some(Self {
            lanes: (0..queues).map(|number| Lane::new(&pool, number)).collect(),
            pool,
            setting,
            strain,
            figures: Arc::clone(figures),
            oracle: Oracle::default(),
            tags: [Tag::NONE, "weights".into(), METERED.into()],
            threads,
            queues: AtomicU64::new(queues),
            around: Mutex::default(),
            allocated: zero(),
            fallbacks: zero(),
            refused: zero(),
            unseen: zero(),
            before: zero(),
            finding: Mutex::default(),
            over: AtomicBool::new(false),
        }))
    }

    /// Plays the round to its end. `alive` hears from every thread that it gets on, and says
    /// whether there is time for more.
    pub(super) fn play(
        self,
        programs: &[Program],
        rng: &mut Rng,
        alive: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Finding> {
        let legs = rng.u32(1..=LEGS);
        let barrier = Barrier::new(self.threads);
        let work = |program, mut rng: Rng| {
            let mut judge = rng.fork();
            let mut player = Player::new(&self, program, rng);
            for leg in 1..=legs {
                for _ in 0..LEG / BEAT {
                    self.note(|| player.play(BEAT));
                    alive();
                    if self.is_broken() {
                        break;
                    }
                }
                if barrier.wait().is_leader() {
                    self.note(|| self.compare(&mut judge));
                    let stop = leg == legs || !alive() || self.is_broken();
                    self.over.store(stop, Relaxed);
                }
                barrier.wait();
                if self.over.load(Relaxed) {
                    break;
                }
            }
            player.end()
        };
        let held: Vec<Held> = thread::scope(|scope| {
            let work = &work;
            let start = |number| {
                let (program, rng) = (&programs[number % programs.len()], rng.fork());
                scope.spawn(move || work(program, rng))
            };
            let threads: Vec<_> = (0..self.threads).map(start).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        self.end(held, rng)
    }

    /// Does something whose failure is a finding. Only the first is kept.
    fn note(&self, work: impl FnOnce() -> Result<(), Finding>) {
        let done = catch_unwind(AssertUnwindSafe(work));
        if let Err(finding) = done.unwrap_or_else(|panic| Err(Finding::panicked(&*panic))) {
            self.finding.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(finding);
        }
    }

    fn is_broken(&self) -> bool {
        self.finding.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Something happens beside the traces.
    pub(super) fn mischief(&self, rng: &mut Rng) -> Result<(), Finding> {
        let lane = &self.lanes[rng.usize(..self.lanes.len())];
        match rng.u32(..1000) {
            0..700 => lane.happen(rng, &self.figures),
            700..800 => lane.work().poll()?,
            800..900 => {
                let left = self.around.lock().unwrap_or_else(PoisonError::into_inner).pop();
                if let Some(held) = left {
                    count(&self.figures.freed_elsewhere);
                    self.free(held)?;
                }
            }
            900..910 => {
                let lost = lane.work().counter.is_lost();
                if lost || rng.u8(..4) == 0 {
                    let number = self.queues.fetch_add(1, Relaxed);
                    lane.replace(&self.pool, number, &self.oracle, &self.figures);
                }
            }
            910..920 => {
                let target = rng.u64(..self.setting.demand);
                let bytes = self.excused(|| self.pool.trim(rng.choice([0, target]).unwrap_or(0)))?;
                count(&self.figures.trims);
                self.figures.trimmed_bytes.fetch_add(bytes, Relaxed);
            }
            // As if time had passed: enough looks for what is free at all of them to go.
            920..925 => {
                let look = || self.pool.maintain(Duration::ZERO).map(|_| 0);
                (0..12).try_for_each(|_| self.excused(look).map(drop))?;
            }
            925..930 => {
                self.excused(|| self.pool.rest())?;
                count(&self.figures.rests);
            }
            930..960 => self.strain.fail(rng.u64(1..=16)),
            960 => self.strain.fail_all(),
            961..980 => self.strain.heal(),
            980..990 => {
                let share = rng.choice([None, None, Some(40), Some(70), Some(100), Some(150)]).flatten();
                self.strain.set_budget(share.map(|percent| self.setting.demand / 100 * percent));
            }
            _ => {
                let statistics = self.pool.statistics();
                let sound = statistics.hit_rate <= 1.0 && statistics.utilization <= 1.0;
                same("shares above 1", u64::from(!sound), 0)?;
            }
        }
        Ok(())
    }

    /// The bytes that a call answers; it may fail only if the device has failed a call.
    fn excused(&self, call: impl FnOnce() -> Result<u64, DeviceError>) -> Result<u64, Finding> {
        let troubles = self.strain.troubles();
        call().or_else(
            |error| {
                if self.strain.troubles() > troubles { Ok(0) } else { Err(Finding::Device(error)) }
            },
        )
    }

    /// Frees a buffer once a queue has done what it was given until now.
    pub(super) fn retire(&self, held: Held, work: &Work) -> Result<(), Finding> {
        let ticket = work.counter.submit();
        self.oracle.retired(&held.buffer, held.number, work, ticket)?;
        held.buffer.retire(&work.queue.ticket(ticket));
        count(&self.figures.retired);
        Ok(())
    }

    /// Frees a buffer that no queue uses.
    pub(super) fn free(&self, held: Held) -> Result<(), Finding> {
        self.oracle.freed(&held.buffer, held.number)?;
        drop(held.buffer);
        Ok(())
    }

    /// Leaves a buffer for any thread to free.
    pub(super) fn leave(&self, held: Held) {
        self.around.lock().unwrap_or_else(PoisonError::into_inner).push(held);
    }

    /// All threads stand still: what the pool says of itself is what was counted.
    fn compare(&self, rng: &mut Rng) -> Result<(), Finding> {
        let drained = rng.bool();
        for lane in &self.lanes {
            if drained {
                lane.drain();
            }
            let work = lane.work();
            work.poll()?;
            if drained && !work.counter.is_lost() {
                same("bytes retired to a queue that is done", work.queue.retired_bytes(), 0)?;
            }
        }
        self.oracle.sweep();
        let retired: u64 = self.lanes.iter().map(|lane| lane.work().queue.retired_bytes()).sum();
        let (live, live_bytes) = self.oracle.live();
        // Caches are given up for the list of what is alive, so that comes first.
        let alive = self.pool.leaks();
        same("bytes alive", alive.bytes(), live_bytes + retired)?;
        if retired == 0 {
            same("buffers alive", alive.leaks.len() as u64, live)?;
        }
        let seen = self.pool.statistics();
        if self.setting.config.track_statistics {
            let (active, allocated) = (seen.active_allocations, self.allocated.load(Relaxed));
            same("active_allocations", active, alive.leaks.len() as u64)?;
            same("total_allocations", seen.total_allocations, allocated)?;
            let freed = self.before.load(Relaxed) + allocated - active;
            same("total_deallocations", seen.total_deallocations, freed)?;
            let (fallbacks, unseen) = (self.fallbacks.load(Relaxed), self.unseen.load(Relaxed));
            let counted = seen.fallback_allocations.clamp(fallbacks, fallbacks + unseen);
            same("fallback_allocations", seen.fallback_allocations, counted)?;
            same("failed_allocations", seen.failed_allocations, self.refused.load(Relaxed))?;
        }
        same("device_calls", seen.device_calls, self.strain.calls())?;
        same("bytes reserved", self.pool.reserved_bytes(), self.strain.live_bytes())?;
        same("objects reserved", self.pool.reserved_objects(), self.strain.live_objects())?;
        let past_limit =
            self.setting.config.limits.hard_bytes.map(|most| self.strain.peak_bytes().saturating_sub(most));
        same("bytes past the hard limit", 0, past_limit.unwrap_or_default())?;
        if let Some((quota, used)) = self.pool.quota(METERED) {
            let metered = alive.leaks.iter().filter(|leak| leak.tag.name() == METERED);
            same("bytes under a quota", used, metered.map(|leak| leak.size).sum())?;
            same("bytes past a quota", 0, used.saturating_sub(quota))?;
        }
        self.figures.peak_live_bytes.fetch_max(live_bytes + retired, Relaxed);
        self.figures.metadata_bytes.fetch_max(self.pool.metadata_bytes() as u64, Relaxed);
        self.figures.end_fragmentation.store(seen.fragmentation.to_bits(), Relaxed);
        count(&self.figures.comparisons);
        if rng.u8(..4) == 0 {
            self.pool.reset_statistics();
            self.before.store(alive.leaks.len() as u64, Relaxed);
            let counters = [&self.allocated, &self.fallbacks, &self.refused, &self.unseen];
            counters.iter().for_each(|counter| counter.store(0, Relaxed));
        }
        Ok(())
    }

    /// Closes the pool, buffers still alive; when the last is gone everything must be back.
    fn end(self, mut held: Vec<Held>, rng: &mut Rng) -> Result<(), Finding> {
        let Self { pool, strain, oracle, lanes, around, finding, .. } = self;
        strain.heal();
        lanes.iter().for_each(Lane::drain);
        if let Some(finding) = finding.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(finding);
        }
        held.extend(around.into_inner().unwrap_or_else(PoisonError::into_inner));
        rng.shuffle(&mut held);
        for lane in &lanes {
            oracle.forget(lane.work().number);
        }
        let free = |held: Vec<Held>| {
            held.into_iter().try_for_each(|Held { buffer, number, .. }| oracle.freed(&buffer, number))
        };
        let late = held.split_off(held.len() / 2);
        free(held)?;
        drop((lanes, pool));
        free(late)?;
        nothing_left(&strain)
    }
}

fn nothing_left(strain: &Strain) -> Result<(), Finding> {
    same("bytes not given back", 0, strain.live_bytes())?;
    same("heaps and buffers not given back", 0, strain.live_objects())
}

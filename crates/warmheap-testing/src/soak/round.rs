//! One round: a pool with settings of its own, played on by several threads until it closes.
//!
//! Threads stop together after each leg, pin what may move, and while all stand still the pool's books
//! are compared with those kept here.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;

use fastrand::Rng;

use super::Soak;
use super::books::Books;
use super::figures::{Figures, count};
use super::finding::{Finding, same};
use super::held::{Held, Still};
use super::lanes::{Lane, Work};
use super::oracle::Oracle;
use super::player::Player;
use super::setting::{METERED, Setting};
use super::strain::{Strain, Strained};
use crate::lock;
use warmheap::device::Device;
use warmheap::{Pool, Tag};
use warmheap_trace::Program;

/// Operations of each thread in a leg, and the most legs in a round.
const LEG: usize = 20_000;
const LEGS: u32 = 12;
/// Operations of a thread between two signs of life.
const BEAT: usize = 1_000;

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
    pub(super) queues: AtomicU64,
    /// Buffers left for any thread to free.
    pub(super) around: Mutex<Vec<Held>>,
    pub(super) books: Books,
    /// The most bytes of a buffer that may move.
    pub(super) longest_movable: AtomicU64,
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
            books: Books::default(),
            longest_movable: AtomicU64::new(0),
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
                    self.note(|| {
                        player.play(BEAT)?;
                        alive();
                        Ok(())
                    });
                    if self.is_broken() {
                        break;
                    }
                }
                let mut sights = Vec::new();
                self.note(|| player.look_around().map(|found| sights = found));
                if barrier.wait().is_leader() {
                    self.note(|| {
                        let stop = leg == legs || !alive();
                        self.over.store(stop, Relaxed);
                        self.compare(stop, &mut judge)
                    });
                    if self.is_broken() {
                        self.over.store(true, Relaxed);
                    }
                }
                barrier.wait();
                self.note(|| {
                    drop(sights);
                    Ok(())
                });
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
            lock(&self.finding).get_or_insert(finding);
        }
    }

    fn is_broken(&self) -> bool {
        lock(&self.finding).is_some()
    }

    /// Frees a buffer once a queue has done what it was given until now.
    pub(super) fn retire(&self, held: Held, work: &Work) -> Result<(), Finding> {
        let ticket = work.counter.submit();
        let Still { buffer, number, .. } = held.into_still(&self.oracle)?;
        self.oracle.retired(&buffer, number, work, ticket)?;
        buffer.retire(&work.queue.ticket(ticket));
        count(&self.figures.retired);
        Ok(())
    }

    /// Leaves a buffer for any thread to free.
    pub(super) fn leave(&self, held: Held) {
        lock(&self.around).push(held);
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
            lane.work().counter.go();
        }
        let free = |held: Vec<Held>| held.into_iter().try_for_each(|held| held.free(&oracle));
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

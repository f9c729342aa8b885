//! One round: a pool with its own settings, on which several threads play until it closes.
//!
//! Threads wait for each other after each leg and pin what may move. While they wait, the pool's figures
//! are compared with those counted here. In half of the rounds the pool closes in the middle of a last
//! leg, while the threads play on with the buffers that they hold.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use warmheap::device::Device;
use warmheap::{Pool, Tag};
use warmheap_trace::Program;

use super::Soak;
use super::callbacks;
use super::expected::Expected;
use super::faulty_device::{Faults, FaultyDevice};
use super::figures::{Figures, count};
use super::finding::{Finding, same};
use super::held::{Held, Still, look_at};
use super::oracle::Oracle;
use super::queues::{QueueSlot, Work};
use super::setting::{METERED, Setting};
use super::workers;
use crate::lock;

/// The state that all threads of a round share.
#[derive(Debug)]
pub(super) struct Round {
    /// The round's own handle; `None` once the pool is to close.
    pool: Mutex<Option<Pool>>,
    /// Whether the pool is to close. Players then drop their handles.
    pub(super) closing: AtomicBool,
    pub(super) setting: Setting,
    pub(super) faults: Arc<Faults>,
    pub(super) figures: Arc<Figures>,
    pub(super) oracle: Oracle,
    pub(super) queues: Vec<QueueSlot>,
    pub(super) tags: [Tag; 3],
    pub(super) threads: usize,
    /// The number of queues made so far.
    pub(super) queues_made: AtomicU64,
    /// Buffers that any thread may free.
    pub(super) around: Mutex<Vec<Held>>,
    pub(super) expected: Expected,
    /// The size of the largest buffer that may move.
    pub(super) longest_movable: AtomicU64,
    /// Whether callbacks do anything.
    pub(super) awake: AtomicBool,
    /// The number of threads that still have to free something in the destructors of their thread-locals.
    pub(super) leaving: AtomicU64,
    finding: Mutex<Option<Finding>>,
}

impl Round {
    /// Starts a pool. Returns `None` if the faulty device refused.
    pub(super) fn start(
        soak: &Soak,
        programs: &[Program],
        device: &Arc<dyn Device>,
        figures: &Arc<Figures>,
        rng: &mut Rng,
    ) -> Result<Option<Arc<Self>>, Finding> {
        let threads = soak.threads.max(1);
        let asked = (0..threads).map(|thread| programs[thread % programs.len()].summary());
        let demand = asked.map(|summary| summary.peak_live_bytes).fold(0, u64::saturating_add);
        let setting = Setting::new(&device.limits(), demand, soak.heaps, rng);
        let faults = Faults::new(Arc::clone(figures));
        if rng.u8(..4) == 0 {
            faults.fail(rng.u64(1..8), rng.u8(..4) == 0);
        }
        let faulty = FaultyDevice { inner: Arc::clone(device), faults: Arc::clone(&faults) };
        let pool = match Pool::new(Arc::new(faulty), setting.config.clone()) {
            Ok(pool) => pool,
            Err(error) if faults.troubles() == 0 => return Err(Finding::Start(error)),
            Err(_) => return nothing_left(&faults).map(|()| None),
        };
        let queues = soak.queues.max(1) as u64;
        let round = Arc::new(Self {
            queues: (0..queues).map(|number| QueueSlot::new(&pool, number)).collect(),
            pool: Mutex::new(Some(pool.clone())),
            closing: AtomicBool::new(false),
            setting,
            faults,
            figures: Arc::clone(figures),
            oracle: Oracle::default(),
            tags: [Tag::NONE, "weights".into(), METERED.into()],
            threads,
            queues_made: AtomicU64::new(queues),
            around: Mutex::default(),
            expected: Expected::default(),
            longest_movable: AtomicU64::new(0),
            awake: AtomicBool::new(true),
            leaving: AtomicU64::new(0),
            finding: Mutex::default(),
        });
        callbacks::register(&pool, &round, rng);
        Ok(Some(round))
    }

    /// Plays the round to its end. Every thread calls `alive` as it makes progress. It returns whether there
    /// is time for more.
    pub(super) fn play(
        self: Arc<Self>,
        programs: &[Program],
        rng: &mut Rng,
        alive: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Finding> {
        let mut held = workers::play(&self, programs, rng, alive);
        rng.shuffle(&mut held);
        let mut late = held.split_off(held.len() / 2);
        self.note(|| self.compare_alone(&held, &late, rng));
        self.note(|| held.into_iter().try_for_each(|held| held.free(&self.oracle)));
        self.note(|| self.compare_alone(&[], &late, rng));
        late.append(&mut lock(&self.around));
        self.end(late)
    }

    /// Compares once more, when all threads have ended and this one has what they held.
    fn compare_alone(&self, held: &[Held], late: &[Held], rng: &mut Rng) -> Result<(), Finding> {
        let _views = look_at(held.iter().chain(late), &self.oracle)?;
        self.compare(true, rng)
    }

    /// Returns a handle to the pool, unless the pool is to close.
    pub(super) fn pool(&self) -> Option<Pool> {
        lock(&self.pool).clone()
    }

    /// Drops all handles to the pool but the players'. The last player to drop its own closes the pool.
    pub(super) fn close(&self) {
        let pool = lock(&self.pool).take();
        self.queues.iter().for_each(QueueSlot::part);
        self.closing.store(true, Relaxed);
        self.unless_panicked(|| drop(pool));
    }

    /// Does `work`, whose failure is a finding. Only the first finding is kept.
    pub(super) fn note(&self, work: impl FnOnce() -> Result<(), Finding>) {
        let done = catch_unwind(AssertUnwindSafe(work));
        if let Err(finding) = done.unwrap_or_else(|panic| Err(Finding::panicked(&*panic))) {
            lock(&self.finding).get_or_insert(finding);
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        lock(&self.finding).is_some()
    }

    /// Retires a buffer with a ticket for all work submitted until now.
    pub(super) fn retire(&self, held: Held, work: &Work) -> Result<(), Finding> {
        let (ticket, value) = work.submit();
        let Still { buffer, number, .. } = held.into_still(&self.oracle)?;
        self.oracle.retired(&buffer, number, work, value)?;
        buffer.retire(&ticket);
        count(&self.figures.retired);
        Ok(())
    }

    /// Leaves a buffer, which any thread may free.
    pub(super) fn leave(&self, held: Held) {
        lock(&self.around).push(held);
    }

    /// Closes the pool, if it is open, with buffers still alive. When the last buffer is gone everything must
    /// be back at the device.
    fn end(self: Arc<Self>, late: Vec<Held>) -> Result<(), Finding> {
        self.faults.heal();
        for slot in &self.queues {
            slot.drain();
            slot.work().counter.go();
        }
        self.note(|| {
            self.close();
            Ok(())
        });
        if let Some(finding) = lock(&self.finding).take() {
            return Err(finding);
        }
        late.into_iter().try_for_each(|held| held.free(&self.oracle))?;
        let faults = Arc::clone(&self.faults);
        let (live, _) = self.oracle.live();
        same("buffers alive after all were freed", live, 0)?;
        // The queues' last tickets end with the round, and so does what was retired with them.
        drop(self);
        nothing_left(&faults)
    }
}

fn nothing_left(faults: &Faults) -> Result<(), Finding> {
    same("bytes not given back", 0, faults.live_bytes())?;
    same("heaps and buffers not given back", 0, faults.live_objects())
}

//! Every device call fails at its first, second, ... use, or always, while a pool goes through everything
//! that calls its device: start-up, each stage of the slow path, giving back, purgeable heaps, clearing, the
//! end. After each act the metadata agrees with the device. After a failure the next request works.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use warmheap::config::{Compaction, Limits, MIB, Scrub};
use warmheap::device::sim::{Call, SimDevice, SimQueue};
use warmheap::device::{DeviceError, Queue};
use warmheap::{AllocError, Buffer, CompactionBudget, Pool, PoolConfig, PoolQueue, Request};

use crate::support::assert_all_back;

/// What the device has. Pools may hold less.
const BUDGET: u64 = 64 * MIB;

/// A queue whose work completes when the test says so, or when a thread waits for it.
#[derive(Debug)]
struct Prompt(Arc<SimQueue>);

impl Queue for Prompt {
    fn completed(&self) -> Result<u64, DeviceError> {
        self.0.completed()
    }

    fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        self.0.complete(value);
        self.0.wait(value, timeout)
    }
}

/// A pool in the middle of its life.
struct Scene {
    sim: SimDevice,
    pool: Pool,
    counter: Arc<SimQueue>,
    queue: PoolQueue,
    held: Vec<Buffer>,
    /// The buffers that a callback frees.
    spare: Arc<Mutex<Vec<Buffer>>>,
}

impl Scene {
    fn new(sim: &SimDevice, pool: Pool) -> Self {
        let counter = Arc::new(SimQueue::new());
        let queue = pool.queue(Arc::new(Prompt(Arc::clone(&counter))));
        let spare: Arc<Mutex<Vec<Buffer>>> = Arc::default();
        let given = Arc::clone(&spare);
        pool.on_pressure(move |_, _| drop(given.lock().unwrap().pop()));
        Self { sim: sim.clone(), pool, counter, queue, held: Vec::new(), spare }
    }

    /// Requests a buffer and holds it. A refusal is part of the test.
    fn ask(&mut self, request: impl Into<Request>) -> bool {
        match self.pool.allocate(request) {
            Ok(buffer) => self.held.push(buffer),
            Err(AllocError::OutOfMemory(_) | AllocError::Device(_) | AllocError::QuotaExceeded(_)) => {
                return false;
            }
            Err(error) => panic!("{error}"),
        }
        true
    }

    fn retire_last(&mut self) {
        if let Some(buffer) = self.held.pop() {
            buffer.retire(&self.queue.ticket(self.counter.submit()));
        }
    }

    /// Fills this thread's cache, and then requests so much that the cache must go.
    fn caches(&mut self) {
        for _ in 0..24 {
            self.ask(MIB / 8);
        }
        self.held.clear();
        self.ask(15 * MIB / 2);
        self.held.clear();
    }

    fn small(&mut self) {
        for size in 1..40 {
            self.ask(Request::new(size * 3_000).tag("matrix"));
            self.ask(Request::new(size).zeroed());
        }
        self.held.truncate(self.held.len() / 2);
    }

    fn large(&mut self) {
        for size in 2..5 {
            self.ask(Request::new(size * MIB).align(1 << 16));
            self.ask(Request::new(size * MIB).zeroed());
        }
        self.held.truncate(self.held.len() - self.held.len().min(3));
    }

    fn retire(&mut self) {
        for _ in 0..3 {
            self.ask(4 * MIB);
            self.retire_last();
        }
        if let Ok(early) = self.queue.allocate(4 * MIB) {
            drop(early);
        }
        self.counter.complete_all();
    }

    /// Makes a request that fails after every stage was tried.
    fn exhaust(&mut self) {
        self.ask(3 * MIB);
        self.spare.lock().unwrap().extend(self.held.pop());
        self.ask(2 * MIB);
        self.retire_last();
        for _ in 0..60 {
            if !self.ask(Request::new(3 * MIB).wait(Duration::from_millis(1))) {
                break;
            }
        }
        self.counter.complete_all();
        while self.ask(MIB) {}
    }

    /// Makes free blocks of many lengths, and then requests something longer than most.
    fn scatter(&mut self) {
        let mut place = 0;
        self.held.retain(|_| {
            place += 1;
            place % 3 == 0
        });
        self.ask(5 * MIB);
        self.ask(7 * MIB);
    }

    /// Makes buffers that grow, announced or not, among the free blocks of others.
    fn grow(&mut self) {
        self.ask(Request::new(MIB / 2).growable(4 * MIB));
        self.ask(Request::new(20_000).tag("matrix"));
        let from = self.held.len().saturating_sub(2);
        for buffer in &mut self.held[from..] {
            for step in 1..5 {
                let size = buffer.size() + step * 300_000;
                let (old, grown) = (buffer.size(), buffer.grow_or_move(size));
                assert_eq!(buffer.size(), if grown.is_ok() { size } else { old });
            }
        }
    }

    fn idle(&mut self) {
        // This acts as if time passed between the samples.
        for _ in 0..16 {
            let _ = self.pool.maintain(Duration::ZERO);
        }
        self.ask(6 * MIB);
    }

    fn compact(&mut self) {
        self.held.clear();
        let ask = |_| self.pool.allocate_movable(400 << 10).ok();
        let mut movable: Vec<_> = (0..80).filter_map(ask).collect();
        let mut turn = 0..;
        movable.retain(|_| turn.next().is_some_and(|turn: u32| turn.is_multiple_of(3)));
        self.ask(5 * MIB);
        let _ = self.pool.compact(CompactionBudget::unlimited());
        self.compare_figures();
    }

    fn trim(&mut self) {
        let _ = self.pool.trim(20 * MIB);
        let _ = self.pool.trim(0);
        self.ask(6 * MIB);
    }

    fn rest(&mut self) {
        self.held.clear();
        self.spare.lock().unwrap().clear();
        self.sim.set_pressure(true);
        let _ = self.pool.make_purgeable();
        self.ask(7 * MIB);
        let _ = self.pool.make_purgeable();
        self.sim.set_pressure(false);
        // The pool needs more than its other heaps have, so it reclaims or destroys purgeable ones.
        self.ask(12 * MIB);
        self.ask(5 * MIB);
        self.ask(5 * MIB);
    }

    /// Asserts that the device, the pool and its statistics agree.
    fn compare_figures(&self) {
        let (seen, reserved) = (self.pool.statistics(), self.pool.reserved_bytes());
        assert_eq!(self.sim.live_bytes(), reserved);
        assert_eq!(self.sim.live_objects(), self.pool.reserved_objects());
        let said = (seen.total_capacity_mb + seen.fallback_mb) * MIB as f64;
        assert!((said..=said + seen.quarantined_mb * MIB as f64).contains(&(reserved as f64)));
        assert!(seen.used_capacity_mb <= seen.total_capacity_mb);
        let limit = self.pool.config().limits.hard_bytes.unwrap_or(BUDGET);
        assert!(self.pool.peak_reserved_bytes() <= limit);
    }

    /// Asserts that everything came back.
    fn end(mut self) {
        self.counter.complete_all();
        self.queue.poll().unwrap();
        self.spare.lock().unwrap().clear();
        assert_eq!(self.pool.statistics().active_allocations, self.held.len() as u64);
        assert_eq!(self.pool.leaks().leaks.len(), self.held.len());
        self.held.clear();
        assert_eq!(self.pool.quota("matrix"), Some((MIB, 0)));
        assert_eq!(self.pool.statistics().active_allocations, 0);
        self.compare_figures();
        let Self { sim, pool, queue, .. } = self;
        drop((pool, queue));
        assert_all_back(&sim);
    }
}

type Act = fn(&mut Scene);

const ACTS: [(&str, Act); 12] = [
    ("caches", Scene::caches),
    ("small", Scene::small),
    ("large", Scene::large),
    ("retire", Scene::retire),
    ("exhaust", Scene::exhaust),
    ("scatter", Scene::scatter),
    ("grow", Scene::grow),
    ("compact", Scene::compact),
    ("idle", Scene::idle),
    ("trim", Scene::trim),
    ("rest", Scene::rest),
    ("exhaust again", Scene::exhaust),
];

fn kinds() -> Vec<(&'static str, SimDevice, PoolConfig)> {
    let sim = || SimDevice::new().budget(BUDGET);
    let fixed = PoolConfig::default()
        .with_heap_size(8 * MIB)
        .with_num_heaps(2)
        .with_max_heaps(4)
        .with_dynamic_growth(true)
        .with_warmup_sizes([2 * MIB]);
    let elastic = PoolConfig::elastic();
    let limits = Limits::default().with_soft_bytes(24 * MIB).with_hard_bytes(44 * MIB).with_hard_objects(9);
    // The pool's own thread never finds a heap fragmented enough.
    let patient =
        Compaction::default().with_enabled(true).with_threshold(1.0).with_step_time(Duration::from_secs(1));
    let kinds = vec![
        ("elastic", sim(), elastic.clone()),
        ("elastic, limited", sim(), elastic.clone().with_limits(limits)),
        ("elastic, scrubbed", sim(), elastic.clone().with_scrub(Scrub::OnFree)),
        ("discrete", sim().discrete().purgeable(), elastic.clone()),
        ("discrete, limited", sim().discrete().purgeable(), elastic.with_limits(limits)),
        ("fixed", sim().discrete().purgeable(), fixed.clone()),
        ("fixed, compacting", sim().discrete(), fixed.clone().with_compaction(patient)),
        ("fixed, limited", sim().discrete().purgeable(), fixed.clone().with_limits(limits)),
        ("fixed, scrubbed", sim().discrete().purgeable(), fixed.clone().with_scrub(Scrub::OnFree)),
        ("off", sim(), fixed.with_enabled(false)),
    ];
    kinds.into_iter().map(|(name, sim, config)| (name, sim, config.with_quota("matrix", MIB))).collect()
}

/// Goes through all acts, with failures that `order` requests before the start. Returns how often the pool
/// made `call`.
fn play(sim: &SimDevice, config: &PoolConfig, call: Call, order: impl Fn(), always: bool) -> u64 {
    let before = sim.calls(call);
    order();
    let pool = match Pool::new(Arc::new(sim.clone()), config.clone()) {
        Ok(pool) => pool,
        Err(_) => {
            assert_eq!((sim.live_bytes(), sim.live_objects()), (0, 0), "a failed start kept something");
            if always {
                return sim.calls(call) - before;
            }
            Pool::new(Arc::new(sim.clone()), config.clone()).expect("the failure is over")
        }
    };
    let mut scene = Scene::new(sim, pool);
    for (name, act) in ACTS {
        act(&mut scene);
        scene.compare_figures();
        if !always {
            // A call fails once, whatever it is.
            if scene.held.len() > 4 {
                scene.held.truncate(scene.held.len() - 4);
            }
            assert!(scene.ask(Request::new(MIB / 4)), "nothing works after {name}");
        }
    }
    sim.heal();
    scene.held.truncate(scene.held.len() / 2);
    assert!(scene.ask(Request::new(100)), "nothing works once the device does");
    scene.end();
    sim.calls(call) - before
}

#[test]
fn every_call_may_fail_at_any_use() {
    let mut met = 0;
    for (name, sim, config) in kinds() {
        for call in Call::ALL {
            for nth in 1.. {
                let calls = with_place(&format!("{name}: {call:?} fails at use {nth}"), || {
                    play(&sim, &config, call, || sim.fail(call, nth), false)
                });
                if calls < nth {
                    break;
                }
                met += 1;
            }
        }
    }
    assert!(met > 1_000, "only {met} failures were met");
}

#[test]
fn every_call_may_fail_for_good() {
    for (name, sim, config) in kinds() {
        for call in Call::ALL {
            with_place(&format!("{name}: {call:?} always fails"), || {
                play(&sim, &config, call, || sim.fail_always(call), true)
            });
            sim.heal();
        }
    }
}

/// The acts reach what they should: every kind of call, and every stage of the slow path.
#[test]
fn the_acts_make_every_call_and_reach_every_stage() {
    let mut calls = [0; Call::ALL.len()];
    let mut served = std::collections::BTreeMap::new();
    for (_, sim, config) in kinds() {
        let mut scene = Scene::new(&sim, Pool::new(Arc::new(sim.clone()), config).unwrap());
        ACTS.iter().for_each(|(_, act)| act(&mut scene));
        let seen = scene.pool.statistics();
        assert!(seen.failed_allocations > 0, "no pool was filled");
        for (name, step) in seen.slow_path.stages() {
            *served.entry(name).or_insert(0) += step.served;
        }
        scene.end();
        calls.iter_mut().zip(Call::ALL).for_each(|(sum, call)| *sum += sim.calls(call));
    }
    assert!(calls.iter().all(|count| *count > 0), "{calls:?} of {:?}", Call::ALL);
    assert!(served.values().all(|count| *count > 0), "{served:?}");
}

/// Names the case in which an assertion failed.
fn with_place<R>(place: &str, work: impl FnOnce() -> R) -> R {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        eprintln!("in: {place}");
        std::panic::resume_unwind(panic)
    })
}

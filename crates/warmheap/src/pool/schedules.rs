//! Whole pools under random schedules: threads come, go, grow, free and hand buffers over, and the last
//! handle goes in the middle of it.
//!
//! Shuttle runs one thread at a time. At each lock, atomic access and yield of the real code it chooses
//! which thread goes on. So it finds wrong orders of steps, hangs and lost buffers, in whole protocols, which are
//! too long for loom. It knows one order of memory only: what rests on weak memory is loom's part.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test -p warmheap --lib schedules`.
//! `WARMHEAP_SCHEDULES=N` sets how many schedules each program runs under.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::mpsc;
use shuttle::{Config, Runner, thread};

use super::{Buffer, Pool};
use crate::config::PoolConfig;
use crate::device::sim::SimDevice;

const MIB: u64 = 1 << 20;
/// Half of them switch threads anywhere, half at a few places only, which finds other faults.
const SCHEDULES: usize = 1_000;
const SWITCHES: usize = 3;
/// For each thread; the usual 60 KiB are too few for a pool's start.
const STACK: usize = 256 << 10;

/// Runs a program once for each way to hold memory and each schedule.
fn explore(program: fn(SimDevice, PoolConfig)) {
    let schedules = std::env::var("WARMHEAP_SCHEDULES").map_or(SCHEDULES, |count| count.parse().unwrap());
    for (sim, config) in ways() {
        let run = {
            let (sim, config) = (sim.clone(), config.clone());
            move || program(sim.clone(), config.clone())
        };
        let mut settings = Config::new();
        settings.stack_size = STACK;
        Runner::new(RandomScheduler::new(schedules / 2), settings.clone()).run(run.clone());
        Runner::new(PctScheduler::new(SWITCHES, schedules / 2), settings).run(run);
    }
}

/// Growing, discrete and fixed heaps.
fn ways() -> [(SimDevice, PoolConfig); 3] {
    let mut fixed = PoolConfig::default();
    (fixed.heap_size, fixed.num_heaps) = (16 * MIB, 2);
    fixed.warmup_sizes.clear();
    [
        (SimDevice::new(), PoolConfig::elastic()),
        (SimDevice::new().discrete(), PoolConfig::elastic()),
        (SimDevice::new(), fixed),
    ]
}

/// Who has which addresses. Its lock is the standard library's: no thread is switched away from inside.
#[derive(Debug, Default)]
struct Claims(Mutex<BTreeMap<u64, u64>>);

impl Claims {
    fn claim(&self, Range { start, end }: Range<u64>) {
        let mut claims = self.0.lock().unwrap();
        if let Some((other, until)) = claims.range(..end).next_back() {
            assert!(*until <= start, "{start:#x}..{end:#x} overlaps {other:#x}..{until:#x}");
        }
        claims.insert(start, end);
    }

    fn give_up(&self, start: u64) {
        assert!(self.0.lock().unwrap().remove(&start).is_some(), "{start:#x} was not held");
    }
}

/// A buffer whose addresses are claimed for as long as it lives.
#[derive(Debug)]
struct Held {
    buffer: Buffer,
    claims: Arc<Claims>,
}

impl Held {
    fn new(pool: &Pool, size: u64, claims: &Arc<Claims>) -> Self {
        let held = Self { buffer: pool.allocate(size).unwrap(), claims: Arc::clone(claims) };
        claims.claim(held.range());
        held
    }

    fn range(&self) -> Range<u64> {
        self.buffer.device_address()..self.buffer.device_address() + self.buffer.size()
    }

    fn grow(&mut self, by: u64) {
        if self.buffer.grow(self.buffer.size() + by).is_ok() {
            self.claims.give_up(self.buffer.device_address());
            self.claims.claim(self.range());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.claims.give_up(self.buffer.device_address());
    }
}

fn assert_all_is_back(sim: &SimDevice) {
    assert_eq!((sim.live_bytes(), sim.live_objects()), (0, 0), "bytes and objects left");
}

#[test]
fn a_pool_may_close_amid_threads_that_grow_free_and_hand_over() {
    explore(|sim, config| {
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let claims = Arc::<Claims>::default();
        let (pass, passed) = mpsc::channel();
        let maker = {
            let (pool, claims) = (pool.clone(), Arc::clone(&claims));
            thread::spawn(move || {
                let mut first = Held::new(&pool, MIB + 256, &claims);
                let hole = Held::new(&pool, 2 * MIB, &claims);
                pass.send(Held::new(&pool, 2 * MIB, &claims)).unwrap();
                let mut small = Held::new(&pool, 700, &claims);
                pass.send(Held::new(&pool, 700, &claims)).unwrap();
                drop(pool);
                drop(hole);
                first.grow(4096);
                small.grow(256);
                first.grow(256);
            })
        };
        let taker = {
            let (pool, claims) = (pool.clone(), Arc::clone(&claims));
            thread::spawn(move || {
                let mut own = Held::new(&pool, MIB + 512, &claims);
                drop(pool);
                own.grow(512);
                passed.into_iter().for_each(drop);
                own.grow(512);
            })
        };
        drop(pool);
        maker.join().unwrap();
        taker.join().unwrap();
        assert_all_is_back(&sim);
    });
}

#[test]
fn heaps_of_threads_that_end_go_on_to_their_successors() {
    explore(|sim, config| {
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let claims = Arc::<Claims>::default();
        let (pass, passed) = mpsc::channel();
        let life = |pass: mpsc::Sender<Held>| {
            let (pool, claims) = (pool.clone(), Arc::clone(&claims));
            move || {
                let large = Held::new(&pool, 2 * MIB, &claims);
                let small = Held::new(&pool, 700, &claims);
                pass.send(Held::new(&pool, MIB + 256, &claims)).unwrap();
                drop((large, small));
            }
        };
        let first = thread::spawn(life(pass.clone()));
        let second = thread::spawn(life(pass.clone()));
        let janitor = {
            let pool = pool.clone();
            thread::spawn(move || {
                pool.trim(0).unwrap();
                pool.reset_statistics();
                let _ = pool.leaks();
                pool.trim(0).unwrap();
            })
        };
        first.join().unwrap();
        let third = thread::spawn(life(pass));
        passed.into_iter().for_each(drop);
        for thread in [second, third, janitor] {
            thread.join().unwrap();
        }
        assert!(pool.leaks().is_clean());
        assert_eq!(pool.statistics().used_capacity_mb, 0.0);
        drop(pool);
        assert_all_is_back(&sim);
    });
}

#[test]
fn the_last_buffer_ends_a_closed_pool_whichever_thread_drops_it() {
    explore(|sim, config| {
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let buffers: Vec<_> = [700, 2 * MIB, MIB + 256].map(|size| pool.allocate(size).unwrap()).into();
        let threads: Vec<_> = buffers.into_iter().map(|buffer| thread::spawn(move || drop(buffer))).collect();
        drop(pool);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_all_is_back(&sim);
    });
}

//! Pools under several threads: threads hand buffers over, threads and pools end in every order, and
//! statistics add up.

use std::collections::BTreeMap;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

use fastrand::Rng;
use warmheap::config::{MIB, Strategy};
use warmheap::device::host::HostDevice;
use warmheap::device::sim::{Call, SimDevice};
use warmheap::{Buffer, Pool, PoolConfig, Request};

use crate::support::assert_all_back;

const THREADS: usize = 4;

/// Steps of each thread in tests of races; `WARMHEAP_RACE_STEPS` sets another number.
fn steps() -> usize {
    std::env::var("WARMHEAP_RACE_STEPS").map_or(10_000, |steps| steps.parse().unwrap())
}

fn small(strategy: Strategy) -> PoolConfig {
    let mut config = PoolConfig::default();
    config.heap_size = 8 * MIB;
    config.num_heaps = 3;
    config.warmup_sizes.clear();
    config.strategy = strategy;
    config
}

fn elastic() -> PoolConfig {
    PoolConfig::elastic()
}

/// The address ranges of live buffers, over all threads.
#[derive(Default)]
struct Claims(Mutex<BTreeMap<u64, u64>>);

impl Claims {
    fn claim(&self, buffer: &Buffer) {
        let (address, size) = (buffer.device_address(), buffer.size());
        let mut claims = self.0.lock().unwrap();
        if let Some((other, len)) = claims.range(..address + size).next_back() {
            assert!(other + len <= address, "{buffer:?} overlaps {len} bytes at {other:#x}");
        }
        claims.insert(address, size);
    }

    fn give_up(&self, buffer: &Buffer) {
        assert_eq!(self.0.lock().unwrap().remove(&buffer.device_address()), Some(buffer.size()));
    }
}

fn some_size(rng: &mut Rng, most: u32) -> u64 {
    let bits = rng.u32(0..most);
    rng.u64(1..=1 << bits)
}

/// The sum of what threads have done.
#[derive(Default)]
struct Sums {
    total: AtomicU64,
    freed: AtomicU64,
    fallbacks: AtomicU64,
    failed: AtomicU64,
    requested: AtomicU64,
}

/// Threads that allocate, free, and hand buffers to each other.
fn exchange(pool: &Pool, sums: &Sums) {
    let claims = Claims::default();
    let (throw, catch) = mpsc::channel::<Buffer>();
    let catch = Mutex::new(catch);
    let work = |number: usize, throw: mpsc::Sender<Buffer>| {
        let mut rng = Rng::with_seed(number as u64);
        let mut held = Vec::new();
        let free = |buffer: Buffer| {
            claims.give_up(&buffer);
            sums.freed.fetch_add(1, Relaxed);
            drop(buffer);
        };
        for _ in 0..steps() {
            match rng.u8(0..16) {
                0..=8 if held.len() < 50 => {
                    let size = some_size(&mut rng, 22);
                    match pool.allocate(Request::new(size)) {
                        Ok(buffer) => {
                            claims.claim(&buffer);
                            sums.total.fetch_add(1, Relaxed);
                            sums.requested.fetch_add(size, Relaxed);
                            sums.fallbacks.fetch_add(buffer.is_fallback().into(), Relaxed);
                            held.push(buffer);
                        }
                        Err(_) => {
                            sums.failed.fetch_add(1, Relaxed);
                        }
                    }
                }
                9 => {
                    if let Some(buffer) = held.pop() {
                        throw.send(buffer).unwrap();
                    }
                }
                10..=11 => {
                    let caught = catch.lock().unwrap().try_recv();
                    caught.into_iter().for_each(free);
                }
                12 if number == 0 => {
                    let statistics = pool.statistics();
                    assert!(statistics.hit_rate <= 1.0 && statistics.utilization <= 1.0, "{statistics:?}");
                }
                _ if !held.is_empty() => free(held.swap_remove(rng.usize(0..held.len()))),
                _ => {}
            }
        }
        held.into_iter().for_each(free);
    };
    thread::scope(|scope| {
        let start = |number| {
            let (work, throw) = (&work, throw.clone());
            scope.spawn(move || work(number, throw))
        };
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        // The test joins each thread, because the end of a scope does not wait for what threads do at their
        // very end.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    drop(throw);
    for buffer in catch.into_inner().unwrap() {
        claims.give_up(&buffer);
        sums.freed.fetch_add(1, Relaxed);
    }
    assert!(claims.0.lock().unwrap().is_empty());
}

/// Runs the exchange and compares the pool's figures with what the threads did.
fn exchange_on(sim: SimDevice, config: PoolConfig) {
    let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
    let sums = Sums::default();
    exchange(&pool, &sums);
    let seen = pool.statistics();
    assert_eq!(seen.total_allocations, sums.total.load(Relaxed));
    assert_eq!(seen.total_deallocations, sums.freed.load(SeqCst));
    assert_eq!(seen.fallback_allocations, sums.fallbacks.load(Relaxed));
    assert_eq!(seen.failed_allocations, sums.failed.load(Relaxed));
    assert_eq!((seen.active_allocations, seen.used_capacity_mb, seen.fallback_mb), (0, 0.0, 0.0));
    let requested = seen.avg_allocation_mb * MIB as f64 * seen.total_allocations as f64;
    assert!((requested - sums.requested.load(Relaxed) as f64).abs() < 1.0);
    assert!(pool.leaks().is_clean());
    let calls = Call::ALL.into_iter().map(|call| sim.calls(call)).sum::<u64>() + sim.frees();
    assert_eq!(pool.statistics().device_calls, calls);
    drop(pool);
    assert_all_back(&sim);
}

#[test]
fn threads_share_fixed_heaps_under_every_strategy() {
    for strategy in [Strategy::RoundRobin, Strategy::BestFit, Strategy::LeastUsed] {
        exchange_on(SimDevice::new(), small(strategy));
    }
}

#[test]
fn threads_share_an_elastic_pool() {
    exchange_on(SimDevice::new(), elastic());
    exchange_on(SimDevice::new().discrete(), elastic());
}

#[test]
fn threads_share_a_pool_that_runs_out() {
    exchange_on(SimDevice::new().budget(24 * MIB), elastic());
    exchange_on(SimDevice::new().budget(40 * MIB), small(Strategy::BestFit));
}

/// Several threads drop buffers of a pool while its last handle goes.
#[test]
fn a_pool_may_end_while_threads_free_its_buffers() {
    for (round, config) in
        [elastic(), small(Strategy::RoundRobin)].into_iter().cycle().take(steps() / 20).enumerate()
    {
        let sim = SimDevice::new();
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let start = Arc::new(Barrier::new(THREADS + 1));
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                // The thread made some of the buffers, and a thread that has ended made the others.
                let mut buffers: Vec<_> =
                    (0..8).map(|at| pool.allocate((1 << (number + 4 * at)).min(3 * MIB)).unwrap()).collect();
                let (pool, start) = (pool.clone(), Arc::clone(&start));
                thread::spawn(move || {
                    buffers.extend((0..8).map(|at| pool.allocate(700 << at).unwrap()));
                    drop(pool);
                    start.wait();
                    Rng::with_seed(round as u64 + number as u64).shuffle(&mut buffers);
                    drop(buffers);
                })
            })
            .collect();
        start.wait();
        drop(pool);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!((sim.live_bytes(), sim.live_objects()), (0, 0), "round {round}");
    }
}

#[test]
fn buffers_outlive_their_pool_and_keep_their_contents() {
    for config in [elastic(), small(Strategy::RoundRobin)] {
        let host = Arc::new(HostDevice::with_budget(64 * MIB));
        let pool = Pool::new(host.clone(), config).unwrap();
        let buffers: Vec<_> = [1, 700, 5000, 3 * MIB, 9 * MIB]
            .into_iter()
            .map(|size| pool.allocate(Request::new(size).zeroed()).unwrap())
            .collect();
        drop(pool);
        let check = |buffer: &Buffer| {
            let bytes = buffer.host_ptr().unwrap();
            // SAFETY: the buffer is alive, and only this thread uses it.
            let bytes = unsafe { std::slice::from_raw_parts_mut(bytes.as_ptr(), buffer.size() as usize) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(9);
            assert!(bytes.iter().all(|byte| *byte == 9));
        };
        let left = warmheap::device::Device::limits(&*host).available.unwrap();
        assert!(left < 64 * MIB, "the memory went although buffers are alive");
        thread::spawn(move || buffers.iter().for_each(check)).join().unwrap();
        assert_eq!(warmheap::device::Device::limits(&*host).available, Some(64 * MIB));
    }
}

#[test]
fn what_an_ending_thread_had_cached_is_there_for_others() {
    for config in [elastic(), small(Strategy::RoundRobin)] {
        let sim = SimDevice::new();
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        for _ in 0..50 {
            let pool = pool.clone();
            let work = move || drop((0..200).map(|_| pool.allocate(4000).unwrap()).collect::<Vec<_>>());
            thread::spawn(work).join().unwrap();
        }
        let seen = pool.statistics();
        assert_eq!((seen.total_allocations, seen.total_deallocations), (10_000, 10_000));
        assert_eq!(seen.used_capacity_mb, 0.0, "{seen:?}");
        assert!(sim.live_bytes() <= 24 * MIB, "memory was not used again: {}", sim.live_bytes());
    }
}

/// A variable of a thread. It is dropped when the thread ends, perhaps after the thread's part of the pool.
struct Late(std::cell::RefCell<Vec<Buffer>>);

thread_local! {
    static LATE: Late = const { Late(std::cell::RefCell::new(Vec::new())) };
}

#[test]
fn buffers_may_be_freed_by_a_thread_that_is_ending() {
    for (early, config) in [(true, elastic()), (false, elastic()), (false, small(Strategy::BestFit))] {
        let sim = SimDevice::new();
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let other = pool.clone();
        let end = move || {
            if early {
                // This registers the variable before the pool's own, so that it is dropped after it.
                LATE.with(|late| late.0.borrow_mut().clear());
            }
            let buffers = (0..100).map(|at| other.allocate(1000 * at + 1_u64).unwrap());
            LATE.with(|late| late.0.borrow_mut().extend(buffers));
        };
        thread::spawn(end).join().unwrap();
        let seen = pool.statistics();
        assert_eq!((seen.total_deallocations, seen.active_allocations), (100, 0));
        drop(pool);
        assert_eq!(sim.live_bytes(), 0);
    }
}

#[test]
fn two_pools_may_take_turns_on_a_thread() {
    let sims = [SimDevice::new(), SimDevice::new()];
    let pools = [elastic(), small(Strategy::RoundRobin)];
    let pools: Vec<_> = sims
        .iter()
        .zip(pools)
        .map(|(sim, config)| Pool::new(Arc::new(sim.clone()), config).unwrap())
        .collect();
    let mut rng = Rng::with_seed(7);
    let mut held = Vec::new();
    for step in 0..20_000 {
        let which = step % 2;
        if rng.bool() {
            held.push((which, pools[which].allocate(some_size(&mut rng, 18)).unwrap()));
        } else if !held.is_empty() {
            held.swap_remove(rng.usize(0..held.len()));
        }
    }
    for (which, pool) in pools.iter().enumerate() {
        let live = held.iter().filter(|(of, _)| *of == which).count() as u64;
        assert_eq!(pool.statistics().active_allocations, live);
    }
    drop(held);
    assert!(pools.iter().all(|pool| pool.leaks().is_clean()));
    drop(pools);
    assert!(sims.iter().all(|sim| sim.live_objects() == 0));
}

#[test]
fn pools_come_and_go_on_a_thread() {
    let sim = SimDevice::new();
    for round in 0..1000_u64 {
        let config = if round % 2 == 0 { elastic() } else { small(Strategy::LeastUsed) };
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let buffers: Vec<_> = (0..8).map(|at| pool.allocate(1 << (2 * at)).unwrap()).collect();
        if round % 3 == 0 {
            drop(pool);
        }
        drop(buffers);
    }
    assert_all_back(&sim);
}

#[test]
fn counters_may_be_reset_while_threads_count() {
    let pool = Pool::new(Arc::new(SimDevice::new()), elastic()).unwrap();
    let (stop, freed) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    for step in 0..steps() {
                        held.push(pool.allocate(1000).unwrap());
                        if step % 3 == 0 {
                            freed.fetch_add(held.len() as u64, SeqCst);
                            held.clear();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                pool.reset_statistics();
                let before = freed.load(SeqCst);
                let seen = pool.statistics();
                // These are alive, or were being freed, or have been freed since.
                let most = 6 + 6 + freed.load(SeqCst) - before;
                assert!(seen.active_allocations <= most, "{most}: {seen:?}");
                thread::yield_now();
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        stop.store(true, Relaxed);
    });
    assert_eq!(pool.statistics().active_allocations, 0);
}

#[test]
fn the_peak_stays_right_however_much_one_thread_allocates_and_another_frees() {
    let pool = Pool::new(Arc::new(SimDevice::new()), elastic()).unwrap();
    let (sender, receiver) = mpsc::sync_channel::<Buffer>(6);
    thread::scope(|scope| {
        scope.spawn(|| {
            // The threads allocate 80 GB in all. At most 8 buffers are alive at once, here and on their way.
            let sender = sender;
            (0..20_000).for_each(|_| sender.send(pool.allocate(4 * MIB).unwrap()).unwrap());
        });
        scope.spawn(move || receiver.into_iter().for_each(drop));
    });
    let peak = pool.statistics().peak_used_mb;
    assert!((4.0..=8.0 * 4.0 + 2.0 * 64.0).contains(&peak), "{peak} MiB");
}

#[test]
fn threads_that_follow_each_other_use_the_same_heaps() {
    for sim in [SimDevice::new(), SimDevice::new().discrete()] {
        let pool = Pool::new(Arc::new(sim), PoolConfig::elastic()).unwrap();
        let used = |_| {
            thread::scope(|scope| {
                let work = || drop((pool.allocate(3 * MIB).unwrap(), pool.allocate(3000).unwrap()));
                scope.spawn(work).join().unwrap();
            });
            (pool.reserved_objects(), pool.reserved_bytes())
        };
        let used: Vec<_> = (0..80).map(used).collect();
        assert!(used.iter().all(|after| *after == used[0]), "{used:?}");
    }
}

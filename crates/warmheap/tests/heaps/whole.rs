//! Heaps that cannot grow, which the pool chooses itself or the settings name: they hold little more than
//! what lives in them, and all of their memory serves before a request fails.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;

use fastrand::Rng;
use warmheap::config::{Limits, MIB, Strategy};
use warmheap::device::sim::SimDevice;
use warmheap::{Buffer, Pool, PoolConfig, Request};

use crate::support::{assert_all_back, assert_apart, fixed, start};

const KIB: u64 = 1 << 10;
const GRANULE: u64 = 256;

#[test]
fn many_tensors_of_one_size_hold_little_more_than_their_bytes() {
    for (count, size) in [(505, 16 * MIB), (492, 64 * MIB), (18_800, MIB), (700, 20 * MIB + 4096)] {
        let sim = SimDevice::new().discrete();
        let pool = start(&sim, PoolConfig::elastic());
        let tensors: Vec<_> = (0..count).map(|_| pool.allocate(size).unwrap()).collect();
        let (held, live) = (pool.peak_reserved_bytes(), count * size);
        assert!(held as f64 <= 1.05 * live as f64, "{count} of {size}: {held} for {live}");
        assert_eq!(pool.statistics().fallback_allocations, 0);
        drop(tensors);
        pool.trim(0).unwrap();
        assert_eq!(pool.reserved_bytes(), 0);
    }
}

#[test]
fn more_heaps_than_a_word_has_bits_serve_and_go_back() {
    // No request fits a heap together with another.
    let sim = SimDevice::new().discrete();
    let pool = start(&sim, PoolConfig::elastic());
    let mut buffers: Vec<_> = (0..300).map(|i| pool.allocate((40 * MIB) << (i / 20)).unwrap()).collect();
    let heaps = pool.statistics().total_heaps;
    assert!(heaps >= 300, "{heaps}");
    assert_eq!((pool.statistics().active_heaps, pool.statistics().fallback_allocations), (heaps, 0));
    assert_apart(&buffers);
    // What is free in any of them is found.
    for place in [0, 77, 150, 299] {
        let freed = buffers.swap_remove(place);
        let (address, size) = (freed.device_address(), freed.size());
        drop(freed);
        buffers.push(pool.allocate(size).unwrap());
        assert_eq!(buffers.last().unwrap().device_address(), address);
    }
    assert_eq!(pool.statistics().total_heaps, heaps);
    drop((buffers, pool));
    assert_all_back(&sim);
}

#[test]
fn the_device_serves_no_thread_directly_while_it_has_memory() {
    for count in [1, 3, 64, 100, 200] {
        let sim = SimDevice::new().discrete();
        let pool = start(&sim, PoolConfig::elastic());
        let all = Arc::new(Barrier::new(count));
        let life = |number: u64| {
            let (pool, all) = (pool.clone(), Arc::clone(&all));
            thread::spawn(move || {
                let mut rng = Rng::with_seed(number);
                let mut held: Vec<Buffer> = Vec::new();
                for _ in 0..60 {
                    let bits = rng.u32(10..26);
                    held.push(pool.allocate(rng.u64(1..1 << bits)).unwrap());
                    if held.len() > 12 {
                        held.swap_remove(rng.usize(..held.len()));
                    }
                }
                all.wait();
            })
        };
        let threads: Vec<_> = (0..count as u64).map(life).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let seen = pool.statistics();
        assert_eq!((seen.fallback_allocations, seen.failed_allocations), (0, 0), "{count} threads");
        assert_eq!((seen.active_allocations, seen.total_allocations), (0, 60 * count as u64));
        pool.trim(0).unwrap();
        assert_eq!(pool.reserved_bytes(), 0, "{count} threads have ended");
    }
}

#[test]
fn a_request_that_fits_the_one_free_block_exactly_is_served() {
    let heap = 64 * MIB;
    let limits = Limits::default().with_hard_bytes(heap);
    for size in [256, 4352, 8448, 8960, 25_600, 699_136, 1_048_320, MIB, 3 * MIB + 256] {
        for strategy in [Strategy::RoundRobin, Strategy::BestFit, Strategy::LeastUsed] {
            let config = fixed(1, heap).with_strategy(strategy).with_limits(limits);
            let pool = start(&SimDevice::new(), config);
            let _rest = pool.allocate(heap - size).unwrap();
            let exact = pool.allocate(size);
            assert!(exact.is_ok_and(|exact| !exact.is_fallback()), "{size} with {strategy:?}");
            // And again, now that its span has been freed.
            assert!(pool.allocate(size).is_ok(), "{size} with {strategy:?}");
        }
    }
    // A heap that is no multiple of any size class.
    let limits = Limits::default().with_hard_bytes(699_136);
    let pool = start(&SimDevice::new(), fixed(1, 699_050).with_limits(limits));
    assert!(pool.allocate(699_050).is_ok_and(|whole| !whole.is_fallback()));
}

/// Plays allocations and frees of named buffers, in KiB. Returns how many failed.
fn play(pool: &Pool, program: &str) -> usize {
    let mut held = std::collections::HashMap::new();
    let mut failed = 0;
    for step in program.split_whitespace() {
        let name = step.chars().last().unwrap();
        match step[1..step.len() - 1].parse::<u64>() {
            Ok(size) => match pool.allocate(Request::new(size * KIB).no_fallback()) {
                Ok(buffer) => _ = held.insert(name, buffer),
                Err(_) => failed += 1,
            },
            Err(_) => _ = held.remove(&name),
        }
    }
    failed
}

#[test]
fn a_sequence_that_fitted_once_fits_again_once_everything_is_freed() {
    let program = "+5120a +3840b -a +2816c +1024d +3840e +512f -f +960g +1024h -g -h -d -b -e -c \
                   +256i +768j +704k -j -i -k";
    let pool = start(&SimDevice::new(), fixed(1, 16 * MIB));
    let failures: Vec<_> = (0..6).map(|_| play(&pool, program)).collect();
    assert_eq!(failures, [0; 6]);
}

/// The longest free run of any heap, by what is known from outside: the buffers alive. A span may be longer
/// than its buffer by the rounding to a size class.
fn longest_gap<'a>(heaps: &[(u64, u64)], live: impl Iterator<Item = &'a Buffer>) -> u64 {
    let end = |buffer: &Buffer| {
        let size = buffer.size();
        let rounded = if size <= MIB { size + size / 16 } else { size };
        buffer.device_address() + rounded.next_multiple_of(GRANULE)
    };
    let mut taken: Vec<_> = live.map(|buffer| (buffer.device_address(), end(buffer))).collect();
    taken.sort_unstable();
    let gaps = heaps.iter().flat_map(|(start, len)| {
        let inside = taken.iter().filter(|(address, _)| (*start..start + len).contains(address));
        let mut from = *start;
        let mut gaps: Vec<u64> = Vec::new();
        for (address, end) in inside {
            gaps.push(address.saturating_sub(from));
            from = from.max(*end);
        }
        gaps.push((start + len).saturating_sub(from));
        gaps
    });
    gaps.max().unwrap_or(0)
}

/// Threads fill fixed heaps and free at random. Whenever they all wait, one asks for what does not fit any
/// more, and the buffers that are alive show whether it would have.
fn use_everything(threads: usize, strategy: Strategy) {
    const ROUNDS: usize = 20;
    let heap = 4 * MIB;
    let pool = start(&SimDevice::new(), fixed(3, heap).with_strategy(strategy));
    let whole: Vec<_> = (0..3).map(|_| pool.allocate(Request::new(heap).no_fallback()).unwrap()).collect();
    let heaps: Vec<_> = whole.iter().map(|whole| (whole.device_address(), whole.size())).collect();
    drop(whole);
    let (all, live) = (Barrier::new(threads), Mutex::new(Vec::<Buffer>::new()));
    thread::scope(|scope| {
        for number in 0..threads as u64 {
            let (pool, heaps, all, live) = (&pool, &heaps, &all, &live);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(number);
                for round in 0..ROUNDS {
                    for _ in 0..60 {
                        let bits = rng.u32(8..21);
                        if let Ok(buffer) = pool.allocate(Request::new(rng.u64(1..1 << bits)).no_fallback()) {
                            live.lock().unwrap().push(buffer);
                        }
                        let freed = {
                            let mut live = live.lock().unwrap();
                            let some = rng.bool() && !live.is_empty();
                            some.then(|| rng.usize(..live.len())).map(|place| live.swap_remove(place))
                        };
                        drop(freed);
                    }
                    if all.wait().is_leader() {
                        let mut live = live.lock().unwrap();
                        for _ in 0..10 {
                            let size = rng.u64(1..=2 * MIB);
                            match pool.allocate(Request::new(size).no_fallback()) {
                                Ok(buffer) => live.push(buffer),
                                Err(_) => {
                                    let gap = longest_gap(heaps, live.iter());
                                    assert!(gap < size, "{size} refused, {gap} free in round {round}");
                                }
                            }
                        }
                    }
                    all.wait();
                }
            });
        }
    });
    drop(live);
    assert!(
        (0..3)
            .map(|_| pool.allocate(Request::new(heap).no_fallback()))
            .collect::<Result<Vec<_>, _>>()
            .is_ok()
    );
}

#[test]
fn no_request_is_refused_while_a_free_block_of_fixed_heaps_fits() {
    for threads in [1, 2, 3, 16] {
        for strategy in [Strategy::RoundRobin, Strategy::BestFit, Strategy::LeastUsed] {
            use_everything(threads, strategy);
        }
    }
}

/// As many buffers live as there are heaps, at most, and each fills one. So there is always a heap for the next,
/// whichever thread used it before.
fn take_turns(pool: &Pool, heaps: usize, threads: usize, size: u64) {
    let (permits, free) = (Mutex::new(heaps), Condvar::new());
    thread::scope(|scope| {
        for number in 0..threads as u64 {
            let (pool, permits, free) = (&pool, &permits, &free);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(number);
                for _ in 0..200 {
                    let mut left = free.wait_while(permits.lock().unwrap(), |left| *left == 0).unwrap();
                    *left -= 1;
                    drop(left);
                    let buffer = pool.allocate(Request::new(size).no_fallback()).unwrap();
                    if rng.bool() {
                        thread::yield_now();
                    }
                    drop(buffer);
                    *permits.lock().unwrap() += 1;
                    free.notify_one();
                }
            });
        }
    });
}

#[test]
fn heaps_that_move_are_counted_and_given_back_all_the_time() {
    for threads in [2, 3, 16] {
        // Every heap is promised, so a trim must leave all of them.
        let pool = start(&SimDevice::new(), fixed(8, 4 * MIB));
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(SeqCst) {
                    pool.trim(0).unwrap();
                    assert_eq!(pool.statistics().total_heaps, 8);
                    assert_eq!(pool.reserved_bytes(), 32 * MIB);
                }
            });
            take_turns(&pool, 8, threads, 4 * MIB);
            ended.store(true, SeqCst);
        });
        // The device has memory for little more. A request of another size must get what is unused.
        let sim = SimDevice::new().discrete().budget(8 * 60 * MIB);
        let pool = start(&sim, PoolConfig::elastic());
        thread::scope(|scope| {
            for number in 0..threads as u64 {
                let pool = &pool;
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(number);
                    for _ in 0..100 {
                        let size = [40, 60, 80][rng.usize(..3)] * MIB / threads as u64;
                        let buffers: Vec<_> = (0..2).map(|_| pool.allocate(size).unwrap()).collect();
                        assert_apart(&buffers);
                    }
                });
            }
        });
        assert_eq!(pool.statistics().failed_allocations, 0);
        pool.trim(0).unwrap();
        assert_eq!(pool.reserved_bytes(), 0);
        drop(pool);
        assert_all_back(&sim);
    }
}

#[test]
fn an_unused_heap_serves_whichever_thread_asks() {
    for threads in [1, 2, 3, 16, 64] {
        for strategy in [Strategy::RoundRobin, Strategy::BestFit, Strategy::LeastUsed] {
            let pool = start(&SimDevice::new(), fixed(8, 4 * MIB).with_strategy(strategy));
            take_turns(&pool, 8, threads, 4 * MIB);
            let seen = pool.statistics();
            assert_eq!((seen.total_heaps, seen.failed_allocations), (8, 0), "{threads} {strategy:?}");
        }
        // The pool adds heaps of this size, and no more than it needs at once.
        let sim = SimDevice::new().discrete().budget(8 * 40 * MIB);
        let pool = start(&sim, PoolConfig::elastic());
        take_turns(&pool, 8, threads, 40 * MIB);
        assert_eq!(pool.statistics().failed_allocations, 0);
        drop(pool);
        assert_all_back(&sim);
    }
}

//! Statistics that are read while threads work are never impossible. Once the threads stand still, they are
//! exact.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;

use fastrand::Rng;
use warmheap::config::MIB;
use warmheap::device::sim::SimDevice;
use warmheap::{Buffer, Pool, PoolConfig, Statistics};

use crate::support::{fixed, ways};

/// The most that a peak may be too high by, for each thread.
const SLACK: u64 = 128 * MIB;

/// What the threads have counted themselves: each act before it begins and after it is done.
#[derive(Debug, Default)]
struct Counts {
    asked: AtomicU64,
    allocated: AtomicU64,
    freeing: AtomicU64,
    freed: AtomicU64,
    requested: AtomicU64,
    largest: AtomicU64,
    /// The bytes that are alive at least and at most, and the most that either has been.
    least: AtomicU64,
    most: AtomicU64,
    least_peak: AtomicU64,
    most_peak: AtomicU64,
}

impl Counts {
    fn allocate(&self, pool: &Pool, size: u64) -> Buffer {
        self.asked.fetch_add(1, SeqCst);
        let most = self.most.fetch_add(size, SeqCst) + size;
        self.most_peak.fetch_max(most, SeqCst);
        self.largest.fetch_max(size, SeqCst);
        let buffer = pool.allocate(size).unwrap();
        let least = self.least.fetch_add(size, SeqCst) + size;
        self.least_peak.fetch_max(least, SeqCst);
        self.requested.fetch_add(size, SeqCst);
        self.allocated.fetch_add(1, SeqCst);
        buffer
    }

    fn free(&self, buffer: Buffer) {
        let size = buffer.size();
        self.freeing.fetch_add(1, SeqCst);
        self.least.fetch_sub(size, SeqCst);
        drop(buffer);
        self.most.fetch_sub(size, SeqCst);
        self.freed.fetch_add(1, SeqCst);
    }
}

/// Runs one thread: it keeps buffers of many sizes for a while, and other threads free half of them.
fn work(pool: &Pool, counts: &Counts, around: &Mutex<Vec<Buffer>>, seed: u64, steps: u32) {
    let mut rng = Rng::with_seed(seed);
    let mut held: Vec<Buffer> = Vec::new();
    for _ in 0..steps {
        let most = 1 << rng.u32(6..23);
        let size = rng.u64(1..=most);
        held.push(counts.allocate(pool, size));
        if held.len() > 8 {
            let buffer = held.swap_remove(rng.usize(..held.len()));
            let other = if rng.bool() {
                let mut around = around.lock().unwrap();
                around.push(buffer);
                let place = rng.usize(..around.len());
                around.swap_remove(place)
            } else {
                buffer
            };
            counts.free(other);
        }
    }
    held.into_iter().for_each(|buffer| counts.free(buffer));
}

/// Asserts what is true of every snapshot, whatever happens meanwhile.
fn is_possible(seen: &Statistics) {
    for share in [seen.hit_rate, seen.utilization, seen.fragmentation] {
        assert!((0.0..=1.0).contains(&share), "{seen:?}");
    }
    assert!(seen.fallback_allocations <= seen.total_allocations, "{seen:?}");
    assert!(seen.active_heaps <= seen.total_heaps, "{seen:?}");
    assert!(seen.used_capacity_mb + seen.cached_mb <= seen.total_capacity_mb + 1e-6, "{seen:?}");
    assert!(seen.avg_allocation_mb <= seen.largest_allocation_mb, "{seen:?}");
    assert!(seen.largest_allocation_mb <= seen.peak_used_mb, "{seen:?}");
    for (name, step) in seen.slow_path.stages() {
        assert!(step.served <= step.tried, "{name}: {seen:?}");
    }
}

/// Takes snapshots until told to stop. Compares each with the counts before it and after it.
fn watch(pool: &Pool, counts: &Counts, threads: u64, stop: &AtomicBool) {
    let mut before = Statistics::default();
    while !stop.load(SeqCst) {
        let [allocated, freed] = [&counts.allocated, &counts.freed].map(|count| count.load(SeqCst));
        let (freeing, least_peak) = (counts.freeing.load(SeqCst), counts.least_peak.load(SeqCst));
        let reserved = pool.reserved_bytes();
        let seen = pool.statistics();
        let peak_reserved = pool.peak_reserved_bytes();
        let [asked, frees] = [&counts.asked, &counts.freeing].map(|count| count.load(SeqCst));
        is_possible(&seen);
        assert!((allocated..=asked).contains(&seen.total_allocations), "{allocated} to {asked}: {seen:?}");
        assert!((freed..=frees).contains(&seen.total_deallocations), "{freed} to {frees}: {seen:?}");
        // At most these are alive, and those that were freed during the call.
        let active = allocated.saturating_sub(frees)..=asked - freed;
        assert!(active.contains(&seen.active_allocations), "{active:?}, freeing {freeing}: {seen:?}");
        let peak = (seen.peak_used_mb * MIB as f64) as u64;
        let most_peak = counts.most_peak.load(SeqCst);
        assert!(peak >= least_peak, "{peak} for {least_peak}");
        assert!(peak <= peak_reserved.max(counts.largest.load(SeqCst)), "{peak} for {peak_reserved} held");
        assert!(peak <= most_peak + threads * SLACK, "{peak} for {most_peak}");
        assert!(reserved <= peak_reserved, "{reserved} held, at most {peak_reserved}");
        assert!(seen.total_allocations >= before.total_allocations, "{before:?} {seen:?}");
        assert!(seen.total_deallocations >= before.total_deallocations, "{before:?} {seen:?}");
        assert!(seen.fallback_allocations >= before.fallback_allocations, "{before:?} {seen:?}");
        before = seen;
        thread::yield_now();
    }
}

/// Runs so many threads on a pool of each kind, while `reader` reads.
fn played(threads: u64, reader: impl Fn(&Pool, &Counts, &AtomicBool) + Sync, check: impl Fn(&Pool, &Counts)) {
    // The pool has two heaps of 32 MiB, so with many threads most requests fall back.
    let fixed = fixed(2, 32 * MIB).with_log_exhaustion(false);
    for (name, sim, config) in ways(SimDevice::new, PoolConfig::elastic(), fixed) {
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let (counts, around, stop) = (Counts::default(), Mutex::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            let (pool, counts, around, stop) = (&pool, &counts, &around, &stop);
            let steps = 6000 / threads as u32;
            let workers: Vec<_> = (0..threads)
                .map(|seed| scope.spawn(move || work(pool, counts, around, seed, steps)))
                .collect();
            let reader = &reader;
            let reading = scope.spawn(move || reader(pool, counts, stop));
            let worked: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            stop.store(true, SeqCst);
            let read = reading.join();
            assert!(worked.iter().all(Result::is_ok) && read.is_ok(), "{threads} threads on {name}");
        });
        check(&pool, &counts);
        let around: Vec<Buffer> = around.into_inner().unwrap();
        around.into_iter().for_each(|buffer| counts.free(buffer));
        assert_eq!(pool.statistics().active_allocations, 0, "{threads} threads on {name}");
    }
}

#[test]
fn no_figure_is_impossible_while_threads_work_and_all_are_exact_once_they_stand_still() {
    for threads in [1, 2, 3, 16, 64] {
        let reader = |pool: &Pool, counts: &Counts, stop: &AtomicBool| watch(pool, counts, threads, stop);
        played(threads, reader, |pool, counts| {
            let seen = pool.statistics();
            is_possible(&seen);
            let [asked, freed] = [&counts.asked, &counts.freed].map(|count| count.load(SeqCst));
            assert_eq!((seen.total_allocations, seen.total_deallocations), (asked, freed));
            assert_eq!((seen.active_allocations, seen.failed_allocations), (asked - freed, 0));
            assert_eq!(seen.largest_allocation_mb, counts.largest.load(SeqCst) as f64 / MIB as f64);
            let mean = counts.requested.load(SeqCst) as f64 / asked as f64;
            assert_eq!(seen.avg_allocation_mb, mean / MIB as f64);
            assert_eq!(pool.leaks().leaks.len() as u64, asked - freed);
            assert_eq!(pool.leaks().bytes(), counts.least.load(SeqCst));
            if threads == 1 {
                assert_eq!(seen.peak_used_mb, counts.most_peak.load(SeqCst) as f64 / MIB as f64);
            }
        });
    }
}

#[test]
fn no_figure_is_impossible_while_counters_are_reset() {
    for threads in [1, 3, 16] {
        let reader = |pool: &Pool, _: &Counts, stop: &AtomicBool| {
            while !stop.load(SeqCst) {
                pool.reset_statistics();
                (0..5).for_each(|_| is_possible(&pool.statistics()));
                thread::yield_now();
            }
        };
        played(threads, reader, |pool, counts| {
            pool.reset_statistics();
            let seen = pool.statistics();
            let alive = counts.allocated.load(SeqCst) - counts.freed.load(SeqCst);
            assert_eq!((seen.total_allocations, seen.total_deallocations), (0, 0));
            assert_eq!((seen.active_allocations, seen.fallback_allocations), (alive, 0));
            assert_eq!(seen.peak_used_mb, counts.least.load(SeqCst) as f64 / MIB as f64);
        });
    }
}

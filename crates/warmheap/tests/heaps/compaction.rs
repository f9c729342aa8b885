//! Compaction packs movable buffers together, and free memory joins. Contents survive, and buffers in use
//! stay in their place, whichever call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use warmheap::config::{Compaction, MIB, Scrub, ThreadCache};
use warmheap::device::host::HostDevice;
use warmheap::device::sim::{Call, SimDevice, SimQueue};
use warmheap::{Buffer, CompactionBudget, MovableBuffer, Pool, PoolConfig, Request};

use crate::support::assert_apart;

const UNLIMITED: CompactionBudget = CompactionBudget::unlimited();
const HEAP: u64 = 4 * MIB;

/// Fixed heaps, one growing heap for all threads, and heaps of each thread's own.
fn kinds() -> [(&'static str, PoolConfig); 3] {
    let fixed = PoolConfig::default()
        .with_heap_size(HEAP)
        .with_num_heaps(1)
        .with_max_heaps(48)
        .with_dynamic_growth(true)
        .with_warmup_sizes([]);
    [
        ("fixed", fixed),
        ("one range", PoolConfig::elastic().with_thread_cache(ThreadCache::new(0))),
        ("elastic", PoolConfig::elastic()),
    ]
}

fn bytes(buffer: &Buffer) -> &[u8] {
    let start = buffer.host_ptr().expect("the CPU sees this memory");
    // SAFETY: the caller holds the buffer, and no thread writes to it meanwhile.
    unsafe { std::slice::from_raw_parts(start.as_ptr(), buffer.size() as usize) }
}

/// Returns contents of that many bytes.
fn contents(size: u64, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; size as usize];
    Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

fn write(buffer: &MovableBuffer, seed: u64) {
    let pinned = buffer.pin();
    let bytes = contents(pinned.size(), seed);
    // SAFETY: the buffer is that long and pinned, and only this thread uses it.
    unsafe { pinned.host_ptr().unwrap().copy_from(std::ptr::NonNull::from(&bytes[..]).cast(), bytes.len()) };
}

fn check(buffer: &MovableBuffer, seed: u64) {
    let pinned = buffer.pin();
    assert!(*bytes(&pinned) == contents(pinned.size(), seed), "contents of {seed} changed");
}

/// Allocates buffers of many sizes, and frees most of them.
fn scattered(pool: &Pool, rng: &mut Rng, total: u64) -> Vec<(MovableBuffer, u64)> {
    let mut buffers = Vec::new();
    let mut sum = 0;
    while sum < total {
        let size = if rng.bool() { rng.u64(1..16 << 10) } else { rng.u64(16 << 10..300 << 10) };
        let align = if rng.u8(..8) == 0 { 1 << rng.u32(9..16) } else { 0 };
        sum += size;
        buffers.push((pool.allocate_movable(Request::new(size).align(align)).unwrap(), rng.u64(..)));
    }
    rng.shuffle(&mut buffers);
    buffers.truncate(buffers.len() / 4);
    buffers
}

/// Fails if two buffers share bytes.
fn expect_apart(buffers: &[(MovableBuffer, u64)]) {
    let pinned: Vec<_> = buffers.iter().map(|(buffer, _)| buffer.pin()).collect();
    assert_apart(pinned.iter().map(|pinned| &**pinned));
}

#[test]
fn holes_come_back_and_contents_stay() {
    for (name, config) in kinds() {
        for seed in 0..3 {
            let mut rng = Rng::with_seed(seed);
            let pool = Pool::new(Arc::new(HostDevice::new()), config.clone()).unwrap();
            let buffers = scattered(&pool, &mut rng, 64 * MIB);
            buffers.iter().for_each(|(buffer, seed)| write(buffer, *seed));
            pool.trim(0).unwrap();
            let before = pool.statistics();
            // Memory in use, rounded up to whole heaps, cannot be recovered.
            let used = (before.used_capacity_mb * MIB as f64) as u64;
            let recoverable = pool.reserved_bytes() - used.next_multiple_of(HEAP);
            assert!(recoverable > 8 * MIB || name != "fixed", "{name}: {recoverable}");

            let report = pool.compact(UNLIMITED).unwrap();
            assert!(report.finished && report.busy_buffers == 0, "{name}: {report:?}");
            let back = pool.trim(0).unwrap();
            assert!(back >= report.recovered_bytes, "{name}: {back} of {report:?}");
            let share = back as f64 / recoverable as f64;
            assert!(share >= 0.9, "{name}, {seed}: {back} of {recoverable}, {report:?}");
            buffers.iter().for_each(|(buffer, seed)| check(buffer, *seed));
            expect_apart(&buffers);
            let after = pool.statistics();
            assert_eq!(after.active_allocations, buffers.len() as u64);
            let moved = (after.compactions, after.moved_buffers, after.moved_mb);
            assert_eq!(moved, (1, report.moved_buffers, report.moved_bytes as f64 / MIB as f64), "{name}");
            assert_eq!(after.recovered_mb, report.recovered_bytes as f64 / MIB as f64, "{name}");
            assert_eq!(after.total_allocations, before.total_allocations, "a move is no allocation");
            assert!(buffers.iter().any(|(buffer, _)| buffer.moves() > 0));

            // Little is left to do.
            let again = pool.compact(UNLIMITED).unwrap();
            assert!(again.moved_bytes <= report.moved_bytes / 2, "{name}: {again:?} after {report:?}");
            drop(buffers);
            assert!(pool.leaks().leaks.is_empty());
            pool.trim(0).unwrap();
            assert_eq!(pool.statistics().used_capacity_mb, 0.0, "{name}");
        }
    }
}

#[test]
fn what_is_pinned_or_in_flight_stays_where_it_is() {
    let (_, config) = kinds().into_iter().next().unwrap();
    let pool = Pool::new(Arc::new(SimDevice::new().discrete()), config).unwrap();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    let ticket = queue.ticket(counter.submit());
    let buffers = scattered(&pool, &mut Rng::with_seed(1), 32 * MIB);
    let pins: Vec<_> = buffers.iter().step_by(3).map(|(buffer, _)| buffer.pin()).collect();
    buffers.iter().skip(1).step_by(3).for_each(|(buffer, _)| buffer.in_flight_until(&ticket));
    let report = pool.compact(UNLIMITED).unwrap();
    let moved = |from: usize| buffers.iter().skip(from).step_by(3).filter(|(buffer, _)| buffer.moves() > 0);
    assert_eq!((moved(0).count(), moved(1).count()), (0, 0));
    assert_eq!(moved(2).count() as u64, report.moved_buffers);
    assert!(report.moved_buffers > 0 && report.busy_buffers as usize >= buffers.len() / 3);
    drop(pins);
    counter.complete_all();
    assert_eq!(pool.compact(UNLIMITED).unwrap().busy_buffers, 0);
    assert!(moved(0).count() > 0 && moved(1).count() > 0);
}

#[test]
fn a_held_buffer_stays_until_every_hold_is_released_on_any_thread() {
    for (kind, config) in kinds() {
        let pool = Pool::new(Arc::new(HostDevice::new()), config).unwrap();
        let buffers = scattered(&pool, &mut Rng::with_seed(7), 8 * MIB);
        let addresses =
            || buffers.iter().map(|(buffer, _)| buffer.pin().device_address()).collect::<Vec<_>>();
        let before = addresses();
        for (buffer, _) in &buffers {
            buffer.hold();
            buffer.hold();
            buffer.release();
        }
        assert_eq!(pool.compact(UNLIMITED).unwrap().moved_buffers, 0, "{kind}");
        assert_eq!(addresses(), before, "{kind}");
        thread::scope(|scope| {
            scope.spawn(|| buffers.iter().for_each(|(buffer, _)| buffer.release()));
        });
        // A release without a hold does nothing.
        buffers.iter().for_each(|(buffer, _)| buffer.release());
        assert!(pool.compact(UNLIMITED).unwrap().moved_buffers > 0, "{kind}");
        // A hold does not keep the program from taking the buffer for itself.
        for (buffer, _) in buffers {
            buffer.hold();
            drop(buffer.into_buffer());
        }
    }
}

#[test]
fn what_a_lost_queue_used_keeps_nothing_once_the_queue_is_gone() {
    let (_, config) = kinds().into_iter().next().unwrap();
    let pool = Pool::new(Arc::new(SimDevice::new().discrete()), config).unwrap();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    let ticket = queue.ticket(counter.submit());
    pool.allocate(5 * MIB).unwrap().retire(&ticket);
    let buffers = scattered(&pool, &mut Rng::with_seed(6), 32 * MIB);
    buffers.iter().for_each(|(buffer, _)| buffer.in_flight_until(&ticket));
    counter.lose("the test ordered it");
    drop(ticket);
    let report = pool.compact(UNLIMITED).unwrap();
    assert_eq!((report.moved_buffers, report.busy_buffers), (0, buffers.len() as u64));
    assert_eq!(pool.leaks().leaks.len(), buffers.len() + 1);
    drop(queue);
    assert_eq!(pool.leaks().leaks.len(), buffers.len(), "what it held is back");
    assert_eq!(pool.compact(UNLIMITED).unwrap().busy_buffers, 0);
    assert!(buffers.iter().any(|(buffer, _)| buffer.moves() > 0));
}

#[test]
fn a_budget_is_kept_and_several_steps_finish() {
    let (_, config) = kinds().into_iter().next().unwrap();
    let pool = Pool::new(Arc::new(SimDevice::new().discrete()), config).unwrap();
    let buffers = scattered(&pool, &mut Rng::with_seed(2), 64 * MIB);
    let nothing = CompactionBudget { bytes: MIB, time: Duration::ZERO };
    let report = pool.compact(nothing).unwrap();
    assert_eq!((report.moved_buffers, report.finished), (0, false));
    let budget = CompactionBudget { bytes: MIB, time: Duration::MAX };
    let mut steps = 0;
    loop {
        let report = pool.compact(budget).unwrap();
        assert!(report.moved_bytes < MIB + (300 << 10), "{report:?}");
        if report.finished {
            break;
        }
        steps += 1;
    }
    assert!(steps > 4, "{steps}");
    drop(buffers);
}

#[test]
fn a_copy_that_fails_leaves_everything_as_it_was() {
    for (name, config) in kinds() {
        let sim = if name == "fixed" { SimDevice::new().discrete() } else { SimDevice::new() };
        let mut failures = 0;
        for nth in (1..40).step_by(3) {
            let pool = Pool::new(Arc::new(sim.clone()), config.clone()).unwrap();
            let buffers = scattered(&pool, &mut Rng::with_seed(3), 16 * MIB);
            sim.fail(Call::Copy, nth);
            let used = pool.statistics().used_capacity_mb;
            let failed = pool.compact(UNLIMITED).is_err();
            sim.heal();
            let moved: u64 = buffers.iter().map(|(buffer, _)| buffer.moves()).sum();
            assert!(!failed || moved == nth - 1, "{name}, {nth}: {moved}");
            failures += u32::from(failed);
            assert_eq!(pool.statistics().used_capacity_mb, used, "{name}, {nth}");
            assert_eq!(sim.live_bytes(), pool.reserved_bytes(), "{name}, {nth}");
            expect_apart(&buffers);
            assert!(pool.compact(UNLIMITED).unwrap().finished, "{name}, {nth}");
            drop(buffers);
            drop(pool);
            assert_eq!(sim.live_bytes(), 0, "{name}, {nth}");
        }
        assert!(failures > 5, "{name}: only {failures} copies failed");
    }
}

#[test]
fn what_a_buffer_leaves_is_cleared_if_it_must_be() {
    for (name, config) in kinds() {
        let pool = Pool::new(Arc::new(HostDevice::new()), config.with_scrub(Scrub::OnFree)).unwrap();
        let buffers = scattered(&pool, &mut Rng::with_seed(4), 32 * MIB);
        buffers.iter().for_each(|(buffer, seed)| write(buffer, *seed));
        assert!(pool.compact(UNLIMITED).unwrap().moved_bytes > 0, "{name}");
        let fresh: Vec<_> = (0..200).map(|_| pool.allocate(50 << 10).unwrap()).collect();
        assert!(fresh.iter().all(|buffer| bytes(buffer).iter().all(|byte| *byte == 0)), "{name}");
        buffers.iter().for_each(|(buffer, seed)| check(buffer, *seed));
    }
}

#[test]
fn quotas_tags_and_sites_move_along() {
    let (_, config) = kinds().into_iter().next().unwrap();
    let pool =
        Pool::new(Arc::new(SimDevice::new().discrete()), config.with_quota("cache", 512 * MIB)).unwrap();
    let ask = || pool.allocate_movable(Request::new(90 << 10).tag("cache")).unwrap();
    let mut buffers: Vec<_> = (0..400).map(|_| ask()).collect();
    let site = buffers[0].pin().site();
    let mut turn = 0..;
    buffers.retain(|_| turn.next().is_some_and(|turn: i32| turn % 4 == 3));
    pool.compact(UNLIMITED).unwrap();
    assert!(buffers.iter().any(|buffer| buffer.moves() > 0));
    assert_eq!(pool.quota("cache"), Some((512 * MIB, 100 * (90 << 10))));
    let leaks = pool.leaks().leaks;
    assert_eq!(leaks.len(), 100);
    assert!(leaks.iter().all(|leak| leak.site == site && leak.size == 90 << 10));
    drop(buffers.into_iter().map(MovableBuffer::into_buffer).collect::<Vec<_>>());
    assert_eq!(pool.quota("cache"), Some((512 * MIB, 0)));
}

#[test]
fn a_pool_compacts_by_itself() {
    for (name, config) in kinds() {
        let compaction = Compaction::default().with_enabled(true).with_interval(Duration::from_millis(5));
        let config = config.with_compaction(compaction).with_trim_after(Duration::from_millis(60));
        let pool = Pool::new(Arc::new(HostDevice::new()), config).unwrap();
        let buffers = scattered(&pool, &mut Rng::with_seed(5), 64 * MIB);
        buffers.iter().for_each(|(buffer, seed)| write(buffer, *seed));
        let live: u64 = buffers.iter().map(|(buffer, _)| buffer.size()).sum();
        let begun = Instant::now();
        while pool.reserved_bytes() > live + live / 10 + HEAP {
            let held = pool.reserved_bytes();
            assert!(begun.elapsed() < Duration::from_secs(60), "{name}: {held} held for {live}");
            thread::sleep(Duration::from_millis(5));
        }
        buffers.iter().for_each(|(buffer, seed)| check(buffer, *seed));
        expect_apart(&buffers);
    }
}

#[test]
fn threads_go_on_while_one_compacts() {
    for (name, config) in kinds() {
        let pool = Pool::new(Arc::new(HostDevice::new()), config).unwrap();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..3_u64)
                .map(|thread| {
                    let pool = &pool;
                    scope.spawn(move || work(pool, thread))
                })
                .collect();
            let compact = scope.spawn(|| {
                let mut moved = 0;
                while !over.load(Relaxed) {
                    moved +=
                        pool.compact(CompactionBudget { bytes: MIB, ..UNLIMITED }).unwrap().moved_buffers;
                }
                moved
            });
            workers.into_iter().for_each(|worker| worker.join().unwrap());
            over.store(true, Relaxed);
            assert!(compact.join().unwrap() > 0, "{name}");
        });
        assert_eq!(pool.statistics().active_allocations, 0, "{name}");
        assert!(pool.leaks().leaks.is_empty(), "{name}");
    }
}

/// Makes, reads and frees movable buffers and others.
fn work(pool: &Pool, thread: u64) {
    let mut rng = Rng::with_seed(thread);
    let mut held: Vec<(MovableBuffer, u64)> = Vec::new();
    for step in 0..2000 {
        match rng.u8(..8) {
            0..4 if held.len() < 100 => {
                let buffer = pool.allocate_movable(rng.u64(1..20 << 10)).unwrap();
                write(&buffer, step);
                held.push((buffer, step));
            }
            4 => drop(pool.allocate(rng.u64(1..200 << 10)).unwrap()),
            5 | 6 if !held.is_empty() => {
                let (buffer, seed) = held.swap_remove(rng.usize(..held.len()));
                check(&buffer, seed);
            }
            _ if !held.is_empty() => {
                let (buffer, seed) = &held[rng.usize(..held.len())];
                check(buffer, *seed);
            }
            _ => {}
        }
    }
}

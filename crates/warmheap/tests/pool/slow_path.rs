//! The stages of a request that no heap has room for: each in its turn, counted, and only as far as needed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use warmheap::config::{Compaction, Limits, MIB};
use warmheap::device::sim::{SimDevice, SimQueue};
use warmheap::device::{Queue, WorkerQueue};
use warmheap::stats::Stage;
use warmheap::{AllocError, Pool, Request};

use crate::support::{fixed, start};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

/// Returns what each stage has served since `reset`, by name, without those that served nothing.
fn served(pool: &Pool) -> Vec<(&'static str, u64)> {
    let steps = pool.statistics().slow_path.stages().into_iter();
    steps.map(|(name, Stage { served, .. })| (name, served)).filter(|(_, served)| *served > 0).collect()
}

fn tried(pool: &Pool) -> Vec<&'static str> {
    let steps = pool.statistics().slow_path.stages().into_iter();
    steps.filter(|(_, step)| step.tried > 0).map(|(name, _)| name).collect()
}

/// One pool has all stages. If an earlier stage can serve, no later one is tried.
#[test]
fn each_stage_serves_in_its_turn() {
    let sim = SimDevice::new().discrete().purgeable();
    let config = fixed(2, 8 * MIB).with_dynamic_growth(true).with_max_heaps(3).with_growth_trigger(1.0);
    let limits = Limits::default().with_hard_bytes(30 * MIB);
    let pool = start(&sim, config.with_limits(limits));
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    let large = || pool.allocate(8 * MIB);

    // Stage `retired`.
    let kept = large().unwrap();
    large().unwrap().retire(&queue.ticket(counter.submit()));
    counter.complete_all();
    pool.reset_statistics();
    let second = large().unwrap();
    assert_eq!((served(&pool), tried(&pool)), (vec![("retired", 1)], vec!["retired"]));
    drop(second);

    // Stage `caches`.
    drop((0..8).map(|_| pool.allocate(MIB).unwrap()).collect::<Vec<_>>());
    assert!(pool.statistics().cached_mb > 0.0);
    pool.reset_statistics();
    let second = large().unwrap();
    assert_eq!((served(&pool), tried(&pool)), (vec![("caches", 1)], vec!["retired", "caches"]));
    drop(second);

    // Stage `purgeable`.
    assert_eq!(pool.make_purgeable(), Ok(8 * MIB));
    pool.reset_statistics();
    let second = large().unwrap();
    assert_eq!(served(&pool), [("purgeable", 1)]);

    // Stage `growth`.
    pool.reset_statistics();
    let third = large().unwrap();
    assert_eq!((served(&pool), pool.statistics().total_heaps), (vec![("growth", 1)], 3));

    // Stage `fallback`.
    pool.reset_statistics();
    let fallback = pool.allocate(6 * MIB).unwrap();
    assert_eq!(served(&pool), [("fallback", 1)]);
    assert!(fallback.is_fallback());

    // Stage `wait`.
    second.retire(&queue.ticket(counter.submit()));
    pool.reset_statistics();
    let second = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(SHORT);
            counter.complete_all();
        });
        pool.allocate(Request::new(8 * MIB).wait(LONG)).unwrap()
    });
    assert_eq!(pool.statistics().slow_path.wait, Stage { tried: 1, served: 1 });

    // Stage `callbacks`.
    let spare = Arc::new(Mutex::new(Some(third)));
    pool.on_pressure(move |_, _| drop(spare.lock().unwrap().take()));
    pool.reset_statistics();
    let third = large().unwrap();
    assert_eq!(pool.statistics().slow_path.callbacks, Stage { tried: 1, served: 1 });
    assert_eq!(
        pool.statistics().slow_path.wait,
        Stage::default(),
        "neither the request nor the settings allow a wait"
    );

    // No stage is left.
    pool.reset_statistics();
    let Err(AllocError::OutOfMemory(error)) = large() else { panic!("there was memory") };
    assert_eq!((served(&pool), pool.statistics().failed_allocations), (vec![], 1));
    assert_eq!((error.requested(), error.in_flight(), error.limit()), (8 * MIB, 0, Some(30 * MIB)));
    drop((kept, second, third, fallback, queue, pool));
    assert_eq!(sim.live_bytes(), 0);
}

#[test]
fn movable_buffers_make_room_before_a_heap_is_added() {
    let sim = SimDevice::new().discrete();
    // The pool's own thread never finds a heap fragmented enough.
    let patient =
        Compaction::default().with_enabled(true).with_threshold(1.0).with_step_time(Duration::from_secs(1));
    let pool = start(
        &sim,
        fixed(2, 8 * MIB)
            .with_dynamic_growth(true)
            .with_max_heaps(3)
            .with_growth_trigger(1.0)
            .with_compaction(patient),
    );
    let mut movable: Vec<_> = (0..32).map(|_| pool.allocate_movable(MIB / 2).unwrap()).collect();
    let mut turn = 0..;
    movable.retain(|_| turn.next().is_some_and(|turn| matches!(turn % 8, 3 | 4)));
    pool.reset_statistics();
    let large = pool.allocate(8 * MIB).unwrap();
    assert_eq!((served(&pool), pool.statistics().total_heaps), (vec![("compaction", 1)], 2));
    drop((large, movable, pool));
    assert_eq!(sim.live_bytes(), 0);
}

#[test]
fn a_hit_runs_no_stage() {
    let pool = start(&SimDevice::new(), fixed(2, 8 * MIB));
    for size in [100, MIB, 5 * MIB] {
        drop(pool.allocate(size).unwrap());
    }
    assert!(tried(&pool).is_empty());
}

#[test]
fn a_wait_ends_at_its_deadline_and_says_what_was_in_flight() {
    let pool = start(&SimDevice::new().budget(8 * MIB), fixed(1, 8 * MIB));
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    pool.allocate(6 * MIB).unwrap().retire(&queue.ticket(counter.submit()));
    let begun = Instant::now();
    let answer = pool.allocate(Request::new(6 * MIB).wait(SHORT));
    let Err(AllocError::OutOfMemory(error)) = answer else { panic!("the work has not completed") };
    assert!(begun.elapsed() >= SHORT && error.waited() >= SHORT);
    assert_eq!((error.in_flight(), error.free()), (6 * MIB, 2 * MIB));
    let text = error.to_string();
    assert!(text.contains("6.0 MiB wait for work in flight") && text.contains("wait_ms"), "{text}");
    assert_eq!(pool.statistics().in_flight_mb, 6.0);

    // Nothing is in flight, so there is nothing to wait for.
    counter.complete_all();
    queue.poll().unwrap();
    let held = pool.allocate(6 * MIB).unwrap();
    let begun = Instant::now();
    assert!(pool.allocate(Request::new(6 * MIB).wait(LONG)).is_err());
    assert!(begun.elapsed() < LONG / 2);
    drop(held);
}

#[test]
fn waiting_is_a_setting_that_a_request_may_refuse() {
    let pool = start(&SimDevice::new().budget(8 * MIB), fixed(1, 8 * MIB).with_wait(LONG));
    let worker = Arc::new(WorkerQueue::start().unwrap());
    let queue = pool.queue(worker.clone());
    worker.hold();
    pool.allocate(6 * MIB).unwrap().retire(&queue.ticket(worker.submit(|| ())));
    assert!(pool.allocate(Request::new(6 * MIB).wait(Duration::ZERO)).is_err());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(SHORT);
            worker.resume();
        });
        // A request without fallback may wait as well.
        pool.allocate(Request::new(6 * MIB).no_fallback()).unwrap();
    });
}

#[test]
fn whichever_queue_is_done_first_serves_and_lost_ones_are_not_waited_for() {
    let pool = start(&SimDevice::new().budget(16 * MIB), fixed(2, 8 * MIB));
    let counters: Vec<_> = (0..2).map(|_| Arc::new(SimQueue::new())).collect();
    let queues: Vec<_> = counters.iter().map(|counter| pool.queue(counter.clone())).collect();
    for (queue, counter) in queues.iter().zip(&counters) {
        pool.allocate(8 * MIB).unwrap().retire(&queue.ticket(counter.submit()));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(SHORT);
            counters[1].complete_all();
        });
        let buffer = pool.allocate(Request::new(8 * MIB).wait(LONG)).unwrap();
        assert_eq!(counters[0].completed(), Ok(0));
        drop(buffer);
    });
    let _kept = pool.allocate(8 * MIB).unwrap();
    counters[0].lose("gone");
    let begun = Instant::now();
    let Err(AllocError::OutOfMemory(error)) = pool.allocate(Request::new(8 * MIB).wait(LONG)) else {
        panic!("a lost queue gave its memory back")
    };
    assert!(begun.elapsed() < LONG / 2);
    assert_eq!(error.in_flight(), 8 * MIB);
}

/// Waiting threads keep no other thread from freeing, retiring or requesting.
#[test]
fn waiting_holds_no_lock() {
    let pool = start(&SimDevice::new().budget(16 * MIB), fixed(2, 8 * MIB));
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    pool.allocate(8 * MIB).unwrap().retire(&queue.ticket(counter.submit()));
    let other = pool.allocate(6 * MIB).unwrap();
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            (0..2).map(|_| scope.spawn(|| pool.allocate(Request::new(8 * MIB).wait(LONG)))).collect();
        std::thread::sleep(SHORT);
        // Each of these calls takes the locks that a waiting thread could hold.
        drop(pool.allocate(MIB).unwrap());
        pool.allocate(MIB).unwrap().retire(&queue.ticket(counter.submit()));
        assert!(pool.allocate(8 * MIB).is_err());
        pool.trim(0).unwrap();
        pool.make_purgeable().unwrap();
        let _ = (pool.statistics(), pool.leaks());
        counter.complete_all();
        drop(other);
        waiting.into_iter().for_each(|thread| drop(thread.join().unwrap()));
    });
}

#[test]
fn a_heap_is_added_once_utilisation_has_passed_the_trigger() {
    let sim = SimDevice::new();
    let config = fixed(2, 8 * MIB).with_dynamic_growth(true).with_max_heaps(3).with_growth_trigger(0.75);
    let pool = start(&sim, config);
    let heaps = |pool: &Pool| pool.statistics().total_heaps;
    let mut held: Vec<_> = (0..4).map(|_| pool.allocate(3 * MIB).unwrap()).collect();
    assert_eq!((pool.statistics().utilization, heaps(&pool)), (0.75, 2), "at the trigger, not past it");
    held.push(pool.allocate(256).unwrap());
    assert_eq!(heaps(&pool), 3);
    assert!(tried(&pool).is_empty(), "nothing was missed");
    // The pool adds heaps up to the limit, and never because a cache is full.
    held.extend((0..2).map(|_| pool.allocate(4 * MIB).unwrap()));
    assert_eq!(heaps(&pool), 3);
    drop(held);

    // If the device refuses, the pool goes on while there is room.
    let pool = start(&sim, fixed(1, 8 * MIB).with_dynamic_growth(true).with_growth_trigger(0.1));
    sim.fail_always(warmheap::device::sim::Call::CreateHeap);
    let _held: Vec<_> = (0..7).map(|_| pool.allocate(MIB).unwrap()).collect();
    sim.heal();
    assert_eq!((heaps(&pool), pool.statistics().fallback_allocations), (1, 0));
    // Growth ahead of need does not pass a soft limit either.
    let limits = Limits::default().with_soft_bytes(8 * MIB);
    let config = fixed(1, 8 * MIB).with_dynamic_growth(true).with_growth_trigger(0.1).with_limits(limits);
    let pool = start(&sim, config);
    let _held: Vec<_> = (0..7).map(|_| pool.allocate(MIB).unwrap()).collect();
    assert_eq!(heaps(&pool), 1);
}

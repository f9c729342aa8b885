//! Queues that end before their work does. No drop waits for the work, the memory comes back once the work is
//! done, and no false leak is reported.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tracing::subscriber::with_default;
use warmheap::config::MIB;
use warmheap::device::sim::{SimDevice, SimQueue};
use warmheap::{Buffer, Pool, PoolConfig, PoolQueue};

use crate::support::foreign::Listener;
use crate::support::watchdog::within_patience;
use crate::support::{assert_all_back, becomes, fixed, start, ways};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);
const AT_ONCE: Duration = Duration::from_secs(1);

/// Returns a pool of each sizing, with its device.
pub(crate) fn pools() -> impl Iterator<Item = (SimDevice, Pool)> {
    let ways = ways(SimDevice::new, PoolConfig::elastic(), fixed(2, 16 * MIB));
    ways.into_iter().map(|(_, sim, config)| (sim.clone(), start(&sim, config)))
}

/// Returns a buffer that its queue reused early, while the work before is still to do.
fn early(pool: &Pool) -> (Arc<SimQueue>, PoolQueue, Buffer) {
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    pool.allocate(MIB).unwrap().retire(&queue.ticket(counter.submit()));
    let buffer = queue.allocate(MIB).unwrap();
    (counter, queue, buffer)
}

#[track_caller]
fn at_once<R>(work: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let done = work();
    assert!(begun.elapsed() < AT_ONCE, "took {:?}", begun.elapsed());
    done
}

#[test]
fn a_queue_names_the_work_that_memory_still_waits_for() {
    for (_, pool) in pools() {
        let counter = Arc::new(SimQueue::new());
        let queue = pool.queue(counter.clone());
        assert_eq!((counter.submit(), queue.unfinished()), (1, Ok(None)), "no memory waits");
        let moving = pool.allocate_movable(MIB).unwrap();
        moving.in_flight_until(&queue.ticket(counter.submit()));
        assert_eq!(queue.unfinished(), Ok(Some(2)));
        pool.allocate(MIB).unwrap().retire(&queue.ticket(counter.submit()));
        let early = queue.allocate(MIB).unwrap();
        assert_eq!((queue.retired_bytes(), queue.unfinished()), (0, Ok(Some(3))));
        counter.complete(2);
        assert_eq!(queue.unfinished(), Ok(Some(3)));
        drop((early, moving));
        assert_eq!(queue.unfinished(), Ok(Some(3)), "freed memory waits as well");
        counter.complete(3);
        assert_eq!(queue.unfinished(), Ok(None));
        counter.lose("switched off");
        assert!(queue.unfinished().unwrap_err().to_string().contains("switched off"));
    }
}

#[test]
fn a_buffer_whose_queue_is_gone_waits_for_its_work_without_its_holder() {
    for (sim, pool) in pools() {
        let (counter, queue, buffer) = early(&pool);
        let address = buffer.device_address();
        at_once(|| drop(queue));
        at_once(|| drop(buffer));
        let others: Vec<_> = (0..8).map(|_| pool.allocate(MIB).unwrap()).collect();
        assert!(others.iter().all(|other| other.device_address() != address), "in use still");
        let figures = pool.statistics();
        assert_eq!((figures.in_flight_mb, figures.orphaned_mb), (1.0, 1.0));
        counter.complete_all();
        pool.maintain(Duration::ZERO).unwrap();
        let figures = pool.statistics();
        assert_eq!((figures.in_flight_mb, figures.orphaned_mb), (0.0, 0.0));
        drop((others, pool));
        assert_all_back(&sim);
    }
}

#[test]
fn requests_that_find_no_room_wait_for_queues_that_are_gone() {
    let sim = SimDevice::new().budget(8 * MIB);
    let mut config = PoolConfig::elastic();
    config.wait = Duration::from_secs(60);
    let pool = Pool::new(Arc::new(sim), config).unwrap();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    pool.allocate(6 * MIB).unwrap().retire(&queue.ticket(counter.submit()));
    at_once(|| drop(queue));
    let completing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        counter.complete_all();
    });
    within_patience("a request", move || drop(pool.allocate(6 * MIB).unwrap()));
    completing.join().unwrap();
}

#[test]
fn the_statistics_show_what_lost_queues_and_ended_threads_hold() {
    for (sim, pool) in pools() {
        // One queue works, one is lost, and one went with its thread, at 1 to 64 threads.
        let counters = [0; 2].map(|_| Arc::new(SimQueue::new()));
        let [working, lost] = counters.clone().map(|counter| pool.queue(counter));
        for (queue, counter) in [(&working, &counters[0]), (&lost, &counters[1])] {
            pool.allocate(MIB).unwrap().retire(&queue.ticket(counter.submit()));
        }
        assert_eq!(pool.statistics().orphaned_mb, 0.0);
        counters[1].lose("unplugged");
        assert_eq!(pool.statistics().orphaned_mb, 1.0);
        let mut gone = Vec::new();
        for threads in [1, 2, 3, 16, 64] {
            let before = gone.len();
            thread::scope(|scope| {
                let works = |_| {
                    let counter = Arc::new(SimQueue::new());
                    let ours = counter.clone();
                    let pool = &pool;
                    scope.spawn(move || {
                        let queue = pool.queue(ours.clone());
                        let ticket = queue.ticket(ours.submit());
                        pool.allocate(64 << 10).unwrap().retire(&ticket);
                    });
                    counter
                };
                gone.extend((before..before + threads).map(works));
            });
            let figures = pool.statistics();
            let expected = 1.0 + gone.len() as f64 / 16.0;
            assert_eq!((figures.orphaned_mb, figures.in_flight_mb), (expected, expected + 1.0));
        }
        gone.iter().chain(&counters[..1]).for_each(|counter| counter.complete_all());
        pool.maintain(Duration::ZERO).unwrap();
        assert_eq!(pool.statistics().orphaned_mb, 1.0);
        drop(lost);
        assert_eq!(pool.statistics().orphaned_mb, 0.0);
        drop((working, pool));
        assert_all_back(&sim);
    }
}

#[test]
fn what_a_lost_queue_without_handles_held_comes_back() {
    for (sim, pool) in pools() {
        let (counter, queue, buffer) = early(&pool);
        at_once(|| drop((queue, buffer)));
        counter.lose("unplugged");
        pool.maintain(Duration::ZERO).unwrap();
        assert_eq!(pool.statistics().active_allocations, 0);
        drop(pool);
        assert_all_back(&sim);
    }
}

#[test]
fn a_closed_pool_gives_back_what_work_in_flight_used() {
    for (sim, pool) in pools() {
        let (counter, queue, buffer) = early(&pool);
        // Everything but the buffer goes while work is in flight. There is nothing to wait for yet.
        at_once(|| drop((queue, pool)));
        at_once(|| drop(buffer));
        assert!(sim.live_bytes() >= MIB, "memory in use was given back");
        counter.complete_all();
        assert!(becomes(LONG, || (sim.live_bytes(), sim.live_objects()) == (0, 0)));
    }
}

#[test]
fn the_end_of_a_pool_waits_for_work_in_flight() {
    for (sim, pool) in pools() {
        let counter = Arc::new(SimQueue::new());
        let queue = pool.queue(counter.clone());
        pool.allocate(MIB).unwrap().retire(&queue.ticket(counter.submit()));
        let completing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            counter.complete_all();
        });
        drop((queue, pool));
        assert_all_back(&sim);
        completing.join().unwrap();
    }
}

#[test]
fn the_last_queue_of_a_pool_reports_no_leak_of_what_is_done() {
    for (sim, pool) in pools() {
        let listener = Listener::default();
        with_default(listener.clone(), || {
            let counter = Arc::new(SimQueue::new());
            let queue = pool.queue(counter.clone());
            let ticket = queue.ticket(counter.submit());
            pool.allocate(MIB).unwrap().retire(&ticket);
            counter.complete_all();
            drop(pool);
            drop(queue);
            drop(ticket);
        });
        assert_eq!(listener.lines(), ["memory pool closed, no buffer leaked"]);
        assert_all_back(&sim);
    }
}

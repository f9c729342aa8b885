//! Memory that a queue still uses goes to no other user.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use warmheap::config::{MIB, Scrub};
use warmheap::device::sim::{Call, SimDevice, SimQueue};
use warmheap::device::{DeviceError, Queue, WorkerQueue};
use warmheap::{AllocError, Buffer, Pool, PoolConfig, Request};

use crate::support::start;

fn pool() -> (SimDevice, Pool) {
    let sim = SimDevice::new();
    let pool = start(&sim, PoolConfig::elastic());
    (sim, pool)
}

fn range(buffer: &Buffer) -> (u64, u64) {
    (buffer.device_address(), buffer.device_address() + buffer.size())
}

#[test]
fn a_retired_buffer_is_not_handed_out_before_its_ticket() {
    let (_, pool) = pool();
    let sim = Arc::new(SimQueue::new());
    let queue = pool.queue(sim.clone());
    let buffer = pool.allocate(4 * MIB).unwrap();
    let address = buffer.device_address();
    let value = sim.submit();
    buffer.retire(&queue.ticket(value));
    let others: Vec<_> = (0..32).map(|_| pool.allocate(4 * MIB).unwrap()).collect();
    assert!(others.iter().all(|other| other.device_address() != address));
    drop(others);
    sim.complete(value);
    assert_eq!(queue.poll(), Ok(1));
    let again: Vec<_> = (0..64).map(|_| pool.allocate(4 * MIB).unwrap()).collect();
    assert!(again.iter().any(|other| other.device_address() == address));
}

#[test]
fn the_same_queue_has_its_memory_back_at_once() {
    let (_, pool) = pool();
    let sim = Arc::new(SimQueue::new());
    let queue = pool.queue(sim.clone());
    for size in [1000, MIB, 3 * MIB] {
        let buffer = queue.allocate(size).unwrap();
        let address = buffer.device_address();
        buffer.retire(&queue.ticket(sim.submit()));
        let next = queue.allocate(size).unwrap();
        assert_eq!(next.device_address(), address);
        assert_eq!(queue.retired_bytes(), 0);
        sim.complete_all();
    }
    let statistics = pool.statistics();
    assert_eq!((statistics.total_allocations, statistics.total_deallocations), (6, 6));
}

#[test]
fn what_must_be_cleared_first_waits_for_its_ticket_on_the_same_queue_too() {
    for (scrub, zeroed) in [(Scrub::Never, true), (Scrub::OnFree, false)] {
        let sim = SimDevice::new();
        let mut config = PoolConfig::elastic();
        config.scrub = scrub;
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let counter = Arc::new(SimQueue::new());
        let queue = pool.queue(counter.clone());
        let buffer = queue.allocate(MIB).unwrap();
        let address = buffer.device_address();
        buffer.retire(&queue.ticket(counter.submit()));
        let request = Request::new(MIB);
        let next = queue.allocate(if zeroed { request.zeroed() } else { request }).unwrap();
        assert_ne!(next.device_address(), address, "{scrub:?}");
        counter.complete_all();
        queue.poll().unwrap();
        drop(next);
        assert!(sim.calls(Call::Fill) > 0);
    }
}

#[test]
fn short_memory_is_looked_for_in_queues_before_the_device() {
    let sim = SimDevice::new().budget(8 * MIB);
    let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic()).unwrap();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    pool.allocate(6 * MIB).unwrap().retire(&queue.ticket(counter.submit()));
    let error = pool.allocate(6 * MIB).unwrap_err();
    assert!(error.to_string().contains("out of memory"), "{error}");
    counter.complete_all();
    let buffer = pool.allocate(6 * MIB).unwrap();
    assert!(!buffer.is_fallback());
}

#[test]
fn a_lost_queue_keeps_its_memory_to_itself_and_gives_it_back_in_the_end() {
    let (sim, pool) = pool();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    let value = counter.submit();
    let buffer = pool.allocate(4 * MIB).unwrap();
    let held = range(&buffer);
    buffer.retire(&queue.ticket(value));
    counter.lose("the GPU fell off the bus");
    assert!(matches!(queue.poll(), Err(DeviceError::Lost { .. })));
    let others: Vec<_> = (0..64).map(|_| pool.allocate(MIB).unwrap()).collect();
    assert!(others.iter().all(|other| range(other).1 <= held.0 || held.1 <= range(other).0));
    drop((others, queue, pool));
    assert_eq!(sim.live_bytes(), 0);
}

#[test]
fn a_queue_that_never_completes_costs_its_memory_and_nothing_else() {
    #[derive(Debug)]
    struct Stuck;
    impl Queue for Stuck {
        fn completed(&self) -> Result<u64, DeviceError> {
            Ok(0)
        }
        fn wait(&self, _: u64, _: Duration) -> Result<bool, DeviceError> {
            Ok(false)
        }
    }
    let (sim, pool) = pool();
    let queue = pool.queue(Arc::new(Stuck));
    pool.allocate(4 * MIB).unwrap().retire(&queue.ticket(1));
    drop((queue, pool));
    assert!(sim.live_bytes() >= 4 * MIB, "memory in use was given back");
}

#[test]
fn a_request_that_waits_gets_the_memory_of_work_that_failed() {
    /// A queue whose only submission fails while a thread waits for it.
    #[derive(Debug, Default)]
    struct Failing(AtomicBool);
    impl Queue for Failing {
        fn completed(&self) -> Result<u64, DeviceError> {
            Ok(u64::from(self.0.load(Ordering::SeqCst)))
        }
        fn wait(&self, _: u64, _: Duration) -> Result<bool, DeviceError> {
            self.0.store(true, Ordering::SeqCst);
            Err(DeviceError::Failed { call: "work", reason: "it failed".into() })
        }
    }
    let mut config = PoolConfig::default();
    (config.heap_size, config.num_heaps, config.warmup_sizes) = (8 * MIB, 1, vec![]);
    config.wait = Duration::from_secs(5);
    let pool = start(&SimDevice::new(), config);
    let queue = pool.queue(Arc::new(Failing::default()));
    pool.allocate(6 * MIB).unwrap().retire(&queue.ticket(1));
    assert!(pool.allocate(Request::new(6 * MIB).no_fallback()).is_ok());
}

#[test]
fn completion_threads_free_while_others_retire() {
    let (sim, pool) = pool();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let completion = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                counter.complete_all();
                queue.poll().unwrap();
            }
        });
        let workers: Vec<_> = (0..3_u64)
            .map(|seed| {
                let (pool, queue, counter) = (&pool, &queue, &counter);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    for _ in 0..20_000 {
                        let buffer = pool.allocate(random.u64(1..MIB)).unwrap();
                        buffer.retire(&queue.ticket(counter.submit()));
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        stop.store(true, Ordering::Relaxed);
        // The end of a scope does not wait for what its threads do when they end.
        completion.join().unwrap();
    });
    counter.complete_all();
    queue.poll().unwrap();
    assert_eq!(pool.statistics().active_allocations, 0);
    drop((queue, pool));
    assert_eq!(sim.live_bytes(), 0);
}

#[test]
fn every_call_on_a_lost_queue_fails_and_its_memory_waits_for_its_end() {
    let (_, pool) = pool();
    let worker = Arc::new(WorkerQueue::start().unwrap());
    let queue = pool.queue(worker.clone());
    worker.hold();
    let before = pool.allocate(4 * MIB).unwrap();
    let early = queue.allocate(4 * MIB).unwrap();
    early.retire(&queue.ticket(worker.submit(|| ())));
    let early = queue.allocate(4 * MIB).unwrap();
    let ticket = queue.ticket(worker.submit(|| ()));
    before.retire(&ticket);
    worker.lose("the cable is out");
    let told = queue.poll().unwrap_err();
    assert_eq!(told.to_string(), "the device was lost: the cable is out; its queues make no more progress");
    // Memory retired later waits with the rest, whichever way it is given up.
    pool.allocate(4 * MIB).unwrap().retire(&ticket);
    drop(early);
    assert_eq!(queue.retired_bytes(), 12 * MIB);
    assert_eq!(pool.trim(0).map(|_| queue.retired_bytes()), Ok(12 * MIB));
    drop(queue);
    assert_eq!(pool.statistics().active_allocations, 3, "a ticket is still there");
    drop(ticket);
    assert_eq!(pool.statistics().active_allocations, 0);
}

#[test]
fn a_queue_lost_under_a_waiting_request_ends_the_wait() {
    let sim = SimDevice::new().budget(8 * MIB);
    let pool = Pool::new(Arc::new(sim), PoolConfig::elastic()).unwrap();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    pool.allocate(6 * MIB).unwrap().retire(&queue.ticket(counter.submit()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            counter.lose("switched off");
        });
        let long = Duration::from_secs(600);
        let Err(AllocError::OutOfMemory(error)) = pool.allocate(Request::new(6 * MIB).wait(long)) else {
            panic!("a lost queue gave its memory back")
        };
        assert!(error.waited() < long / 2 && error.in_flight() == 6 * MIB, "{error}");
    });
}

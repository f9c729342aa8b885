//! Memory that no buffer needs goes back by itself within the set time. Memory that is needed now and then
//! stays.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use warmheap::config::MIB;
use warmheap::device::sim::{Call, SimDevice, SimQueue};
use warmheap::{Buffer, Pool, PoolConfig};

use crate::loads::{self, promised};
use crate::support::{becomes, devices};

const IDLE: Duration = Duration::from_millis(120);
/// The time that a busy machine may add to any other.
const GRACE: Duration = Duration::from_secs(5);

/// Allocates large buffers, of which every eighth stays, and small ones, the last of which the thread's cache
/// keeps.
fn spike(pool: &Pool) -> Vec<Buffer> {
    let kept = loads::spike(pool, 64, 8);
    drop((0..32).map(|_| pool.allocate(MIB / 2).unwrap()).collect::<Vec<_>>());
    assert!(pool.statistics().cached_mb >= 1.0);
    kept
}

fn is_trim(pool: &Pool, live: u64) -> bool {
    pool.reserved_bytes() as f64 <= 1.10 * live as f64
}

#[test]
fn a_spike_is_gone_after_the_set_time() {
    for (name, device) in devices() {
        let pool = Pool::new(device, PoolConfig::elastic().with_trim_after(IDLE)).unwrap();
        let kept = spike(&pool);
        let live: u64 = kept.iter().map(Buffer::size).sum();
        assert!(!is_trim(&pool, live), "{name}: {} held at once", pool.reserved_bytes());
        if name != "discrete" {
            assert!(
                becomes(IDLE + GRACE, || is_trim(&pool, live)),
                "{name}: {} for {live}",
                pool.reserved_bytes()
            );
        }
        drop(kept);
        assert!(becomes(IDLE + GRACE, || pool.reserved_bytes() == 0), "{name}: {}", pool.reserved_bytes());
        assert!(!pool.allocate(8 * MIB).unwrap().is_fallback(), "{name}");
    }
}

#[test]
fn a_program_may_give_back_on_a_thread_of_its_own() {
    let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic()).unwrap();
    let kept = spike(&pool);
    let live: u64 = kept.iter().map(Buffer::size).sum();
    assert!(pool.maintain(IDLE).unwrap() <= IDLE / 12);
    thread::sleep(2 * IDLE);
    // However late it is, one call takes one sample.
    pool.maintain(IDLE).unwrap();
    assert!(!is_trim(&pool, live));
    // The set time has twelve samples.
    for _ in 0..12 {
        thread::sleep(pool.maintain(IDLE).unwrap());
    }
    assert!(is_trim(&pool, live), "{} for {live}", pool.reserved_bytes());
}

#[test]
fn what_is_needed_now_and_then_stays() {
    let sim = SimDevice::new();
    let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic()).unwrap();
    let work = || drop((0..32).map(|_| pool.allocate(3 * MIB).unwrap()).collect::<Vec<_>>());
    work();
    let (held, calls) = (pool.reserved_bytes(), pool.statistics().device_calls);
    // No sample finds any of it in use, but between every fifth sample and the next it was in use.
    for _ in 0..20 {
        work();
        for _ in 0..5 {
            thread::sleep(pool.maintain(IDLE).unwrap());
        }
    }
    assert_eq!((pool.reserved_bytes(), pool.statistics().device_calls), (held, calls));
}

#[test]
fn heaps_that_were_promised_stay() {
    let (devices, config) = promised();
    for device in devices {
        let pool = Pool::new(device, config.clone().with_trim_after(IDLE)).unwrap();
        let mut buffers: Vec<_> = (0..6).map(|_| pool.allocate(12 * MIB).unwrap()).collect();
        assert_eq!(pool.statistics().total_heaps, 6);
        buffers.truncate(4);
        assert!(
            becomes(IDLE + GRACE, || pool.statistics().total_heaps == 4),
            "{}",
            pool.statistics().total_heaps
        );
        drop(buffers);
        assert!(
            becomes(IDLE + GRACE, || pool.statistics().total_heaps == 2),
            "{}",
            pool.statistics().total_heaps
        );
        thread::sleep(2 * IDLE);
        assert_eq!(pool.statistics().total_heaps, 2);
    }
}

#[test]
fn what_queues_are_done_with_goes_back() {
    let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic().with_trim_after(IDLE)).unwrap();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    for size in [64 * MIB, MIB / 2] {
        pool.allocate(size).unwrap().retire(&queue.ticket(counter.submit()));
    }
    thread::sleep(2 * IDLE);
    assert!(pool.reserved_bytes() > 64 * MIB);
    counter.complete_all();
    assert!(becomes(IDLE + GRACE, || pool.reserved_bytes() == 0), "{}", pool.reserved_bytes());
}

#[test]
fn a_pool_ends_at_once_whatever_the_time() {
    let day = Duration::from_secs(86_400);
    for at_work in [false, true] {
        let sim = SimDevice::new();
        let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic().with_trim_after(day)).unwrap();
        let kept = at_work.then(|| spike(&pool));
        let begun = Instant::now();
        drop(pool);
        assert!(begun.elapsed() < GRACE);
        drop(kept);
        assert_eq!(sim.live_bytes(), 0);
    }
    // The pool ends at once even while it gives memory back.
    let sim = SimDevice::new();
    let pool =
        Pool::new(Arc::new(sim.clone()), PoolConfig::elastic().with_trim_after(Duration::from_millis(1)));
    drop(spike(pool.as_ref().unwrap()));
    drop(pool);
    assert_eq!(sim.live_bytes(), 0);
}

#[test]
fn a_device_that_does_not_take_memory_back_costs_nothing_else() {
    let sim = SimDevice::new();
    let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic().with_trim_after(IDLE)).unwrap();
    let kept = spike(&pool);
    sim.fail_always(Call::Decommit);
    thread::sleep(2 * IDLE);
    let again: Vec<_> = (0..40).map(|_| pool.allocate(4 * MIB).unwrap()).collect();
    assert_eq!(sim.live_bytes(), pool.reserved_bytes());
    drop(again);
    sim.heal();
    let live: u64 = kept.iter().map(Buffer::size).sum();
    assert!(becomes(IDLE + GRACE, || is_trim(&pool, live)), "{} for {live}", pool.reserved_bytes());
    drop((kept, pool));
    assert_eq!(sim.live_bytes(), 0);
}

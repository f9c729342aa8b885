//! Quotas: bounds on what is alive under a tag.

use std::sync::Arc;

use warmheap::config::MIB;
use warmheap::device::sim::{SimDevice, SimQueue};
use warmheap::{AllocError, Pool, PoolConfig, Request, Tag};

use crate::support::start;

const CACHE: &str = "quota-kv-cache";

fn pool() -> Pool {
    let config = PoolConfig::elastic().with_quota(CACHE, 10 * MIB);
    start(&SimDevice::new(), config)
}

fn cache(size: u64) -> Request {
    Request::new(size).tag(CACHE)
}

#[test]
fn a_request_past_its_quota_fails_with_tag_quota_used_and_asked() {
    let pool = pool();
    let held = pool.allocate(cache(6 * MIB)).unwrap();
    let Err(AllocError::QuotaExceeded(error)) = pool.allocate(cache(5 * MIB)) else {
        panic!("past its quota")
    };
    assert_eq!((error.tag(), error.quota()), (Tag::new(CACHE), 10 * MIB));
    assert_eq!((error.used(), error.requested()), (6 * MIB, 5 * MIB));
    let text = error.to_string();
    for part in ["5.0 MiB requested", CACHE, "10.0 MiB", "6.0 MiB are used", "raise its quota"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    assert_eq!(pool.quota(CACHE), Some((10 * MIB, 6 * MIB)));
    assert_eq!(pool.statistics().failed_allocations, 1);
    // Other tags, and requests without one, are not concerned.
    drop((pool.allocate(20 * MIB).unwrap(), pool.allocate(Request::new(20 * MIB).tag("weights")).unwrap()));
    drop(held);
    assert_eq!(pool.quota(CACHE), Some((10 * MIB, 0)));
    pool.allocate(cache(10 * MIB)).unwrap();
}

#[test]
fn a_large_buffer_goes_straight_back_to_its_heap() {
    let pool = pool();
    drop(pool.allocate(cache(3 * MIB)).unwrap());
    let statistics = pool.statistics();
    assert_eq!((statistics.used_capacity_mb, statistics.cached_mb), (0.0, 0.0));
}

#[test]
fn every_size_and_way_is_charged() {
    let pool = pool();
    for size in [1, 1000, 64 << 10, 3 * MIB] {
        // The loop repeats, because caches could serve the second request.
        for _ in 0..3 {
            let buffer = pool.allocate(cache(size)).unwrap();
            assert_eq!(pool.quota(CACHE), Some((10 * MIB, size)));
            assert!(!buffer.is_fallback());
            std::thread::scope(|scope| scope.spawn(|| drop(buffer)).join().unwrap());
            assert_eq!(pool.quota(CACHE), Some((10 * MIB, 0)));
        }
        let aligned = pool.allocate(cache(size).align(1 << 16).zeroed()).unwrap();
        assert_eq!(pool.quota(CACHE), Some((10 * MIB, size)));
        drop(aligned);
    }
    let off = PoolConfig::default().with_enabled(false).with_quota(CACHE, MIB);
    let pool = Pool::new(Arc::new(SimDevice::new()), off).unwrap();
    let fallback = pool.allocate(cache(MIB)).unwrap();
    assert!(fallback.is_fallback() && fallback.memory().is_some());
    assert!(matches!(pool.allocate(cache(1)), Err(AllocError::QuotaExceeded(_))));
    drop(fallback);
    assert_eq!(pool.quota(CACHE), Some((MIB, 0)));
}

#[test]
fn a_request_that_fails_costs_no_quota() {
    let config = PoolConfig::elastic().with_quota(CACHE, 100 * MIB);
    let pool = Pool::new(Arc::new(SimDevice::new().budget(8 * MIB)), config).unwrap();
    assert!(matches!(pool.allocate(cache(50 * MIB)), Err(AllocError::OutOfMemory(_))));
    assert!(matches!(pool.allocate(cache(0)), Err(AllocError::ZeroSize)));
    assert!(matches!(pool.allocate(cache(8).align(3)), Err(AllocError::BadAlignment { .. })));
    assert_eq!(pool.quota(CACHE), Some((100 * MIB, 0)));
}

#[test]
fn quotas_change_while_buffers_are_alive() {
    let pool = pool();
    let held = pool.allocate(cache(6 * MIB)).unwrap();
    pool.set_quota(CACHE, Some(4 * MIB));
    assert!(pool.allocate(cache(1)).is_err(), "more is used than there is quota");
    pool.set_quota(CACHE, None);
    assert_eq!(pool.quota(CACHE), None);
    let unmetered = pool.allocate(cache(20 * MIB)).unwrap();
    pool.set_quota(CACHE, Some(8 * MIB));
    assert_eq!(pool.quota(CACHE), Some((8 * MIB, 6 * MIB)));
    drop((held, unmetered));
    assert_eq!(pool.quota(CACHE), Some((8 * MIB, 0)));
    pool.set_quota("", Some(1));
    pool.allocate(2 * MIB).unwrap();
}

#[test]
fn a_queue_hands_memory_on_within_the_quota() {
    let pool = pool();
    let counter = Arc::new(SimQueue::new());
    let queue = pool.queue(counter.clone());
    let retire = |buffer: warmheap::Buffer| buffer.retire(&queue.ticket(counter.submit()));
    retire(queue.allocate(cache(6 * MIB)).unwrap());
    assert_eq!(pool.quota(CACHE), Some((10 * MIB, 6 * MIB)), "in flight is alive");
    // The queue gets the same memory again, so no more is used than before.
    let again = queue.allocate(cache(6 * MIB - 100)).unwrap();
    assert_eq!((queue.retired_bytes(), pool.quota(CACHE)), (0, Some((10 * MIB, 6 * MIB - 100))));
    retire(again);
    // A request under another tag gets it. The first quota has its bytes back.
    let other = queue.allocate(6 * MIB).unwrap();
    assert_eq!((queue.retired_bytes(), pool.quota(CACHE)), (0, Some((10 * MIB, 0))));
    retire(other);
    let taken = queue.allocate(cache(6 * MIB)).unwrap();
    assert_eq!((queue.retired_bytes(), pool.quota(CACHE)), (0, Some((10 * MIB, 6 * MIB))));
    retire(queue.allocate(5 * MIB).unwrap());
    assert!(matches!(queue.allocate(cache(5 * MIB)), Err(AllocError::QuotaExceeded(_))));
    drop(taken);
    counter.complete_all();
    queue.poll().unwrap();
    assert_eq!(pool.quota(CACHE), Some((10 * MIB, 0)));
}

#[test]
fn threads_share_a_quota_to_the_byte() {
    let pool = pool();
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let pool = &pool;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut held = Vec::new();
                for _ in 0..5_000 {
                    match pool.allocate(cache(random.u64(1..MIB))) {
                        Ok(buffer) => held.push(buffer),
                        Err(AllocError::QuotaExceeded(error)) => {
                            assert!(
                                error.used() <= error.quota()
                                    && error.used() + error.requested() > error.quota()
                            );
                            held.truncate(held.len() / 2);
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(pool.quota(CACHE), Some((10 * MIB, 0)));
    assert_eq!(pool.statistics().active_allocations, 0);
}

//! Figures count what is, not what was requested. A refused request leaves no trace in them, and a figure of
//! one thread does not include another's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use warmheap::config::{Limits, MIB};
use warmheap::device::Device;
use warmheap::device::sim::SimDevice;
use warmheap::{Pool, PoolConfig, Pressure, Request, Tag};

/// More than the device has, although no limit forbids it.
const FAR_TOO_MUCH: u64 = 512 << 30;

/// Ends the other thread, also if the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Makes another thread request far too much, and be refused, while `work` runs.
fn while_another_is_refused(pool: &Pool, tag: Tag, work: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                pool.allocate(Request::new(FAR_TOO_MUCH).tag(tag)).unwrap_err();
            }
        });
        let _stop = Stop(&stop);
        work();
    });
}

#[test]
fn what_is_refused_counts_in_no_figure_and_guides_no_growth() {
    for soft in [None, Some(32 << 30)] {
        let sim = SimDevice::new().budget(64 << 30);
        let mut config = PoolConfig::elastic();
        config.limits = Limits::default().with_soft_bytes(soft);
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        pool.on_pressure(|_, pressure| {
            if let Pressure::SoftLimit { reserved, .. } = pressure {
                panic!("told of {reserved} bytes that are not held");
            }
        });
        sim.set_latency(Duration::from_millis(2));
        let mut held = Vec::new();
        let mut most = (0, 0);
        while_another_is_refused(&pool, Tag::NONE, || {
            for size in (1..=40).map(|i| (3 + i % 7) * MIB) {
                held.push(pool.allocate(size).unwrap());
                most.0 = most.0.max(pool.reserved_bytes());
                most.1 = most.1.max(pool.reserved_objects());
            }
        });
        let asked: u64 = held.iter().map(warmheap::Buffer::size).sum();
        let enough = asked + asked / 4 + 64 * MIB;
        assert!(most.0 <= enough, "{} bytes held for {asked}", most.0);
        assert!(most.1 <= sim.peak_objects(), "{} objects held of {}", most.1, sim.peak_objects());
        assert_eq!(pool.peak_reserved_bytes(), sim.peak_bytes());
        assert!(sim.peak_bytes() <= enough, "grown to {} bytes for {asked}", sim.peak_bytes());
        assert_eq!(pool.statistics().soft_limit_crossings, 0);
    }
}

#[test]
fn what_is_refused_is_not_used_under_a_quota() {
    let sim = SimDevice::new().budget(64 << 30);
    let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic()).unwrap();
    let tag = Tag::new("figures");
    pool.set_quota(tag, Some(FAR_TOO_MUCH + MIB));
    let kept = pool.allocate(Request::new(MIB).tag(tag)).unwrap();
    sim.set_latency(Duration::from_millis(2));
    while_another_is_refused(&pool, tag, || {
        for _ in 0..20 {
            assert_eq!(pool.quota(tag), Some((FAR_TOO_MUCH + MIB, MIB)));
            thread::sleep(Duration::from_micros(700));
        }
        // A request counts while the device may still grant it.
        let refused = pool.allocate(Request::new(MIB).tag(tag)).map(drop);
        if let Err(error) = refused {
            assert!(error.to_string().contains("whose quota is"), "{error}");
        }
    });
    drop(kept);
    assert_eq!(pool.quota(tag), Some((FAR_TOO_MUCH + MIB, 0)));
}

#[test]
fn a_trim_returns_what_it_gave_back_itself() {
    let sim = SimDevice::new();
    let config = PoolConfig::default().with_heap_size(8 * MIB).with_num_heaps(1).with_warmup_sizes([]);
    let pool = Pool::new(Arc::new(sim.clone()), config.with_log_exhaustion(false)).unwrap();
    sim.set_latency(Duration::from_micros(50));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                drop(pool.allocate(64 * MIB).unwrap());
            }
        });
        let _stop = Stop(&stop);
        let given: u64 = (0..3000).map(|_| pool.trim(0).unwrap()).sum();
        assert_eq!(given, 0, "the one heap is promised, the rest is another thread's");
    });
}

#[test]
fn the_mean_is_right_past_what_64_bits_hold() {
    // Granules are 1 MiB, so that a heap has room and few requests are enough.
    let mut facts = Device::limits(&SimDevice::new());
    (facts.alignment, facts.granularity) = (MIB, 1 << 40);
    (facts.largest_heap, facts.largest_buffer) = (1 << 50, 1 << 50);
    let pool = Pool::new(Arc::new(SimDevice::new().limits(facts)), PoolConfig::elastic()).unwrap();
    let size = 1_u64 << 49;
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..1 << 15).for_each(|_| drop(pool.allocate(size).unwrap())));
        }
    });
    let seen = pool.statistics();
    assert_eq!((seen.total_allocations, seen.fallback_allocations), (1 << 16, 0));
    assert_eq!(seen.avg_allocation_mb, (size / MIB) as f64);
}

//! Advice at work. A real pool runs a load, and its statistics lead to advice. The pool that the advice
//! recommends runs the same load without fallback.

use std::sync::Arc;

use warmheap::advice::{Grades, findings, recommend_for_run};
use warmheap::config::{MIB, PoolConfig};
use warmheap::device::sim::SimDevice;
use warmheap::{Pool, Statistics};

/// A small model: weights that stay, then steps that allocate and free activations around a cache that grows.
/// The result is everything that is alive at the end of the last step.
fn serve(config: &PoolConfig, mut seed: u64) -> Statistics {
    let pool = Pool::new(Arc::new(SimDevice::new()), config.clone()).unwrap();
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below + 1
    };
    let mut alive: Vec<_> = (0..120).map(|_| pool.allocate(random(16 * MIB)).unwrap()).collect();
    for _ in 0..200 {
        let mut activations: Vec<_> = (0..30).map(|_| pool.allocate(random(2 * MIB)).unwrap()).collect();
        activations.retain(|_| random(3) == 1);
        alive.push(pool.allocate(random(256 << 10)).unwrap());
        activations.push(pool.allocate(random(8 * MIB)).unwrap());
    }
    pool.statistics()
}

#[test]
fn the_pool_that_a_run_asks_for_serves_it_without_fallback() {
    for seed in 0..8 {
        let small = PoolConfig::default().with_heap_size(64 * MIB).with_warmup_sizes([MIB]);
        let before = serve(&small, seed);
        assert_eq!(Grades::of(&before).fallback_rate.label, "Poor");
        let found = findings(&before, &small);
        assert_eq!(found[0].title, "High Fallback Rate (>10%)");

        let advised = recommend_for_run(&before, &small).config;
        let after = serve(&advised, seed);
        assert_eq!(after.fallback_allocations, 0, "{advised:?}");
        assert_eq!(Grades::of(&after).hit_rate.label, "Excellent");
        assert_eq!(after.peak_used_mb, before.peak_used_mb);
        let capacity = after.total_capacity_mb;
        assert!(capacity < 1.3 * after.peak_used_mb, "{capacity} MiB is not small");
    }
}

#[test]
fn taking_the_first_findings_advice_ends_the_fallbacks_in_a_few_rounds() {
    let mut config = PoolConfig::default().with_heap_size(8 * MIB).with_warmup_sizes([MIB]);
    for _ in 0..5 {
        let run = serve(&config, 1);
        if run.fallback_rate() <= 0.05 {
            return;
        }
        config = warmheap::advice::apply(&config, &findings(&run, &config)[0]);
    }
    panic!("still falling back with {config:?}");
}

//! Advice at work, and grades of pools of every kind. A real pool runs a load, and its statistics lead to advice. The pool that the advice
//! recommends runs the same load without fallback.

use std::sync::Arc;

use warmheap::advice::{Grades, findings, findings_with_sizes, recommend_for_run};
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

#[test]
fn pools_are_graded_by_what_their_figures_say() {
    let graded = |config: PoolConfig| {
        let pool = Pool::new(Arc::new(SimDevice::new()), config).unwrap();
        let held: Vec<_> = (0..10).map(|_| pool.allocate(3 * MIB).unwrap()).collect();
        let seen = pool.statistics();
        drop(held);
        let Grades { hit_rate, utilization, fallback_rate, .. } = Grades::of(&seen);
        let change = recommend_for_run(&seen, pool.config()).config != *pool.config();
        ([hit_rate.label, utilization.label, fallback_rate.label], change)
    };
    let fixed = PoolConfig::default().with_warmup_sizes([]).with_heap_size(8 * MIB);
    assert_eq!(graded(fixed.clone()), (["Fair", "Optimal", "Poor"], true));
    // A pool that sizes itself is always nearly full. That is no fault, and fixed heaps are no remedy.
    assert_eq!(graded(PoolConfig::elastic()), (["Excellent", "Not graded", "Excellent"], false));
    let uncounted = fixed.clone().with_track_statistics(false);
    assert_eq!(graded(uncounted), (["Not graded", "Optimal", "Not graded"], false));
    let off = fixed.with_enabled(false);
    assert_eq!(graded(off), (["Not graded", "Not graded", "Not graded"], false));
}

#[test]
fn one_large_buffer_does_not_make_every_heap_as_large() {
    let mut run = Statistics::default();
    run.total_allocations = 1000;
    run.fallback_allocations = 5;
    run.hit_rate = 0.995;
    run.largest_allocation_mb = 3000.0;
    run.peak_used_mb = 18.0 * 1024.0;
    run.total_capacity_mb = 64.0 * 256.0;
    let config = PoolConfig::default().with_num_heaps(64);
    let found = findings(&run, &config);
    let to = warmheap::advice::follow(&config, &found);
    assert_eq!((to.num_heaps, to.heap_size / MIB), (6, 4096), "{found:?}");
}

#[test]
fn a_pool_that_ran_out_hears_of_one_number_of_heaps() {
    let mut run = Statistics::default();
    run.total_allocations = 1000;
    run.fallback_allocations = 300;
    run.active_allocations = 50;
    run.peak_used_mb = 2400.0;
    run.largest_allocation_mb = 10.0;
    run.total_capacity_mb = 1024.0;
    run.utilization = 0.9;
    let found = findings(&run, &PoolConfig::default());
    let changes: Vec<_> = found.iter().flat_map(|finding| &finding.change).map(|c| c.key).collect();
    assert_eq!(changes, ["num_heaps"], "{found:?}");
}

#[test]
fn warm_up_sizes_are_proposed_where_the_run_met_cold_memory() {
    let run = |config: &PoolConfig| {
        let pool = Pool::new(Arc::new(SimDevice::new()), config.clone()).unwrap();
        let mut held: Vec<_> = (0..6).map(|_| pool.allocate(20 * MIB).unwrap()).collect();
        held.extend((0..100).map(|_| pool.allocate(100 << 10).unwrap()));
        let (seen, sizes) = (pool.statistics(), pool.leaks().sizes());
        let bins: Vec<_> = sizes.bins().iter().map(|bin| (bin.up_to, bin.buffers)).collect();
        assert_eq!(bins, [(128 << 10, 100), (32 * MIB, 6)]);
        findings_with_sizes(&seen, config, &sizes)
    };
    let fixed = PoolConfig::default().with_heap_size(48 * MIB);
    let cold = fixed.clone().with_warmup_sizes([MIB]);
    let found = run(&cold);
    let finding = found.iter().find(|finding| finding.title == "Cold Start").unwrap();
    let warmed = warmheap::advice::apply(&cold, finding);
    // Each of the four heaps holds about 32 MiB of the 130, and the usual buffer has 20.
    assert_eq!(warmed.warmup_sizes, [12 * MIB, 20 * MIB]);
    assert!(warmed.warnings().is_empty());
    let titles = |config: &PoolConfig| run(config).iter().map(|f| f.title).collect::<Vec<_>>();
    assert!(!titles(&warmed).contains(&"Cold Start"));
    assert!(!titles(&fixed.with_warmup_sizes([32 * MIB])).contains(&"Cold Start"));
    // The other kinds of pools are not warmed, and one that counts nothing is not judged.
    for config in [PoolConfig::elastic(), cold.clone().with_enabled(false)] {
        assert!(!titles(&config).contains(&"Cold Start"), "{config:?}");
    }
    assert_eq!(titles(&cold.with_track_statistics(false)), ["Statistics Off"]);
}

#[test]
fn failed_requests_are_a_finding_on_every_kind_of_pool() {
    let fixed = PoolConfig::default().with_heap_size(8 * MIB).with_num_heaps(2).with_warmup_sizes([8 * MIB]);
    for config in [fixed.clone(), PoolConfig::elastic(), fixed.with_enabled(false)] {
        let pool = Pool::new(Arc::new(SimDevice::new().budget(20 * MIB)), config.clone()).unwrap();
        let held: Vec<_> = std::iter::repeat_with(|| pool.allocate(2 * MIB)).map_while(Result::ok).collect();
        let found = findings(&pool.statistics(), &config);
        assert_eq!(found[0].title, "Failed Allocations", "{config:?}");
        assert!(found[0].explanation.ends_with("the memory of the device"), "{found:?}");
        drop(held);
    }
}

#[test]
fn what_is_cut_and_what_is_to_be_warmed_agree() {
    let mut run = Statistics::default();
    run.total_allocations = 1000;
    run.hit_rate = 1.0;
    run.peak_used_mb = 1360.0;
    run.largest_allocation_mb = 260.0;
    run.total_capacity_mb = 8.0 * 4096.0;
    run.utilization = 0.04;
    let sizes = std::iter::repeat_n(30 * MIB, 20).collect();
    let config = PoolConfig::default().with_num_heaps(8).with_heap_size(4096 * MIB);
    for warm in [vec![32 * MIB, 512 * MIB], vec![MIB, 512 * MIB], vec![]] {
        let config = config.clone().with_warmup_sizes(warm);
        let found = findings_with_sizes(&run, &config, &sizes);
        let to = warmheap::advice::follow(&config, &found);
        let again = findings_with_sizes(&run, &to, &sizes);
        assert!(again.iter().all(|finding| finding.title != "Cold Start"), "{found:?} and then {again:?}");
        let warmed: u64 = to.warmup_sizes.iter().sum();
        assert!((1200 * MIB..=1361 * MIB).contains(&warmed), "{to:?}");
    }
}

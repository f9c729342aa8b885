//! What holds of advice for any numbers: better figures never get worse grades, proposals are valid
//! configurations, and recommended pools hold what they should.

use proptest::prelude::*;
use warmheap::Statistics;
use warmheap::advice::{self, apply, findings, recommend, recommend_for_run, review, start_failure};
use warmheap::config::{MIB, PoolConfig};

fn any_config() -> impl Strategy<Value = PoolConfig> {
    (1..=8192_u64, 1..=64_usize, any::<bool>(), any::<bool>()).prop_map(
        |(heap_mb, heaps, growth, elastic)| {
            let base = if elastic { PoolConfig::elastic() } else { PoolConfig::default() };
            base.with_heap_size(heap_mb * MIB)
                .with_num_heaps(heaps)
                .with_max_heaps(64.min(heaps + 4))
                .with_dynamic_growth(growth)
        },
    )
}

fn any_figure() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..=1.0, 0.0..=100_000.0, Just(f64::NAN), Just(f64::INFINITY), any::<f64>()]
}

fn any_statistics() -> impl Strategy<Value = Statistics> {
    let counts = (any::<u16>(), any::<u16>(), any::<u64>());
    (counts, prop::array::uniform6(any_figure())).prop_map(|(counts, figures)| {
        let mut s = Statistics::default();
        s.total_allocations = counts.0.into();
        s.fallback_allocations = counts.1.min(counts.0).into();
        s.active_allocations = counts.2;
        s.hit_rate = figures[0];
        s.utilization = figures[1];
        s.largest_allocation_mb = figures[2];
        s.peak_used_mb = figures[3];
        s.used_capacity_mb = figures[4];
        s.total_capacity_mb = figures[5];
        s
    })
}

fn total(config: &PoolConfig) -> u64 {
    config.heap_size * config.num_heaps as u64
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn better_figures_never_get_worse_grades(a in 0.0..=1.0, b in 0.0..=1.0) {
        let (low, high): (f64, f64) = if a < b { (a, b) } else { (b, a) };
        prop_assert!(advice::hit_rate(high).severity <= advice::hit_rate(low).severity);
        prop_assert!(advice::fallback_rate(low).severity <= advice::fallback_rate(high).severity);
        if low >= 0.5 {
            prop_assert!(advice::utilization(low).severity <= advice::utilization(high).severity);
        }
    }

    #[test]
    fn every_proposal_is_valid(
        run in any_statistics(),
        config in any_config(),
        model in any::<Option<u64>>(),
        ram in prop::option::of(0..4096_u64),
        free in any_figure(),
    ) {
        config.validate().unwrap();
        let mut found = findings(&run, &config);
        found.extend(review(&config, model, ram));
        found.extend(start_failure(&config, free));
        for finding in &found {
            let changed = apply(&config, finding);
            prop_assert!(changed.validate().is_ok(), "{finding:?}");
            prop_assert_eq!(changed == config, finding.change.is_empty());
            prop_assert!(!finding.explanation.is_empty());
        }
        prop_assert!(recommend(model, ram, &config).config.validate().is_ok());
        prop_assert!(recommend_for_run(&run, &config).config.validate().is_ok());
    }

    #[test]
    fn larger_models_and_machines_never_get_smaller_pools(
        models in (1..100_000_u64, 1..100_000_u64),
        machines in (1..512_u64, 1..512_u64),
    ) {
        let pool = |model, ram| total(&recommend(Some(model), Some(ram), &PoolConfig::default()).config);
        let (small, large) = (models.0.min(models.1), models.0.max(models.1));
        let (low, high) = (machines.0.min(machines.1), machines.0.max(machines.1));
        prop_assert!(pool(small, low) <= pool(large, low));
        // Sizes are whole MiB for each heap, so with more heaps the sum may differ by a few MiB.
        prop_assert!(pool(small, low) <= pool(small, high) + 8 * MIB);
        prop_assert!(pool(large, low) <= low * 768 * MIB);
    }

    /// Places buffers of any sizes in any order, each into the first heap with room.
    #[test]
    fn the_pool_for_a_run_holds_it_in_any_order(
        sizes in prop::collection::vec(1..=200 * MIB, 1..80),
        heaps in 1..=16_usize,
    ) {
        let mut run = Statistics::default();
        run.total_allocations = sizes.len() as u64;
        run.peak_used_mb = sizes.iter().sum::<u64>() as f64 / MIB as f64;
        run.largest_allocation_mb = *sizes.iter().max().unwrap() as f64 / MIB as f64;
        let config = recommend_for_run(&run, &PoolConfig::default().with_num_heaps(heaps)).config;
        prop_assert!(config.num_heaps <= heaps);
        let mut used = vec![0; config.num_heaps];
        for size in sizes {
            let heap = used.iter_mut().find(|used| **used + size <= config.heap_size);
            prop_assert!(heap.is_some(), "{config:?} has no room for {size}");
            *heap.unwrap() += size;
        }
    }
}

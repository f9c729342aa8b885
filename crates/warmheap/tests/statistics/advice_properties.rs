//! What holds of advice for any numbers: better figures never get worse grades, proposals are valid
//! configurations, and recommended pools hold what they should.

use proptest::prelude::*;
use warmheap::Statistics;
use warmheap::advice::{self, apply, findings, recommend, recommend_for_run, review, start_failure};
use warmheap::config::{MAX_HEAPS, MIB, PoolConfig};

fn any_config() -> impl Strategy<Value = PoolConfig> {
    (1..=8192_u64, any_count(), any::<bool>(), any::<bool>()).prop_map(|(heap_mb, heaps, growth, elastic)| {
        let base = if elastic { PoolConfig::elastic() } else { PoolConfig::default() };
        base.with_heap_size(heap_mb * MIB)
            .with_num_heaps(heaps)
            .with_max_heaps(MAX_HEAPS.min(heaps + 4))
            .with_dynamic_growth(growth)
    })
}

fn any_count() -> impl Strategy<Value = usize> {
    prop_oneof![1..=64_usize, 64..=MAX_HEAPS]
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

/// A configuration that no pool would start with gets advice, too.
#[test]
fn settings_that_were_not_checked_end_no_program() {
    for heap_size in [0, 1, u64::MAX] {
        for heaps in [0, 1, usize::MAX] {
            for (largest, peak) in [(0.0, 0.0), (1.0, 100.0), (20_000.0, 20_000.0), (f64::MAX, f64::MAX)] {
                let config = PoolConfig::default().with_heap_size(heap_size).with_num_heaps(heaps);
                let mut run = Statistics::default();
                (run.total_allocations, run.fallback_allocations, run.failed_allocations) = (10, 5, 1);
                (run.largest_allocation_mb, run.peak_used_mb) = (largest, peak);
                for finding in findings(&run, &config) {
                    assert!(!finding.title.is_empty());
                }
            }
        }
    }
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

    /// Whatever ran on whatever pool, the findings agree on every setting, and what they propose together takes
    /// no more memory than the pool had, or than the run needs to fill it to 80 %, but for rounding.
    #[test]
    fn findings_agree_and_cost_no_more_than_they_save(
        heap_mb in prop_oneof![1..=64_u64, 64..=8192_u64],
        heaps in any_count(),
        growth in any::<bool>(),
        peak in prop_oneof![1.0..=2000.0, 1.0..=100_000.0],
        share in 0.001..=1.0,
        fallbacks in prop_oneof![Just(0_u64), 1..=1000_u64],
        active in 0..200_u64,
    ) {
        let config = PoolConfig::default()
            .with_heap_size(heap_mb * MIB)
            .with_num_heaps(heaps)
            .with_max_heaps(MAX_HEAPS)
            .with_dynamic_growth(growth);
        let capacity = (heap_mb * heaps as u64) as f64;
        let mut run = Statistics::default();
        run.total_allocations = 1000;
        run.fallback_allocations = fallbacks;
        run.hit_rate = 1.0 - fallbacks as f64 / 1000.0;
        run.active_allocations = active;
        run.peak_used_mb = peak;
        run.largest_allocation_mb = peak * share;
        run.total_capacity_mb = capacity;
        run.used_capacity_mb = peak.min(capacity) * 0.9;
        run.utilization = run.used_capacity_mb / capacity;
        let found = findings(&run, &config);
        let mut proposed = std::collections::BTreeMap::new();
        for finding in &found {
            for change in &finding.change {
                let before = proposed.insert(change.key, change.to.clone());
                prop_assert!(before.is_none_or(|before| before == change.to), "{:?}", found);
            }
        }
        let to = advice::follow(&config, &found);
        prop_assert!(to.validate().is_ok());
        let bound = capacity.max(peak / 0.8) * 1.125;
        let size = total(&to) as f64 / MIB as f64;
        prop_assert!(size <= bound + to.num_heaps as f64, "{} MiB for {:?}: {:?}", size, run, found);
        // What was found does not call for the opposite.
        if fallbacks > 0 {
            prop_assert!(size >= peak.min(capacity) * 0.99, "{} MiB for {:?}", size, run);
        }
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

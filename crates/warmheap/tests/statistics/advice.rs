//! The guide's tables at their boundaries, and its scenarios with its own numbers.

use warmheap::advice::{
    self, Finding, Grades, ModelClass, Severity, apply, at_shutdown, findings, heaps_for_ram, recommend,
    recommend_for_run, review, start_failure,
};
use warmheap::config::{MIB, Strategy};
use warmheap::{PoolConfig, Statistics};

fn statistics(set: impl FnOnce(&mut Statistics)) -> Statistics {
    let mut statistics = Statistics::default();
    statistics.total_allocations = 1000;
    statistics.hit_rate = 1.0;
    statistics.total_heaps = 4;
    statistics.total_capacity_mb = 1024.0;
    set(&mut statistics);
    statistics
}

fn titled(found: &[Finding], title: &str) -> Option<Finding> {
    found.iter().find(|finding| finding.title.starts_with(title)).cloned()
}

fn changes(finding: &Finding) -> Vec<String> {
    let change = |c: &advice::Change| format!("{}: {} -> {}", c.key, c.from, c.to);
    finding.change.iter().map(change).collect()
}

#[test]
fn hit_rates_at_the_boundaries() {
    for (rate, label, text) in [
        (1.0, "Excellent", "Pool sized correctly"),
        (0.950_001, "Excellent", "Pool sized correctly"),
        (0.95, "Good", "Pool sized correctly"),
        (0.90, "Good", "Pool sized correctly"),
        (0.899_999, "Fair", "Pool adequate but could be optimized"),
        (0.80, "Fair", "Pool adequate but could be optimized"),
        (0.799_999, "Poor", "Pool too small, increase heap_size_mb or num_heaps"),
        (0.0, "Poor", "Pool too small, increase heap_size_mb or num_heaps"),
    ] {
        let grade = advice::hit_rate(rate);
        assert_eq!((grade.label, grade.text), (label, text), "{rate}");
    }
}

#[test]
fn utilizations_at_the_boundaries() {
    for (share, label) in [
        (1.0, "Critical"),
        (0.950_001, "Critical"),
        (0.95, "Under-provisioned"),
        (0.800_001, "Under-provisioned"),
        (0.80, "Optimal"),
        (0.50, "Optimal"),
        (0.499_999, "Over-provisioned"),
        (0.0, "Over-provisioned"),
    ] {
        assert_eq!(advice::utilization(share).label, label, "{share}");
    }
    let line = advice::utilization(0.99).to_string();
    assert_eq!(line, "Critical: ❌ Pool near exhaustion, increase capacity");
}

#[test]
fn fallback_rates_at_the_boundaries() {
    for (rate, label, severity) in [
        (0.0, "Excellent", Severity::Info),
        (1e-9, "Acceptable", Severity::Info),
        (0.049_999, "Acceptable", Severity::Info),
        (0.05, "Fair", Severity::Warning),
        (0.10, "Fair", Severity::Warning),
        (0.100_001, "Poor", Severity::Error),
        (1.0, "Poor", Severity::Error),
    ] {
        let grade = advice::fallback_rate(rate);
        assert_eq!((grade.label, grade.severity), (label, severity), "{rate}");
    }
}

#[test]
fn hit_rate_and_fallback_rate_agree_on_the_same_run() {
    let run = |fallbacks| {
        Grades::of(&statistics(|s| {
            s.fallback_allocations = fallbacks;
            s.hit_rate = (1000 - fallbacks) as f64 / 1000.0;
        }))
    };
    assert_eq!(run(100).hit_rate.label, "Good");
    assert_eq!(run(100).fallback_rate.label, "Fair");
    assert_eq!(run(101).hit_rate.label, "Fair");
    assert_eq!(run(101).fallback_rate.label, "Poor");
}

#[test]
fn high_fallback_rate_begins_past_a_tenth() {
    let found = |fallbacks| {
        let run = statistics(|s| s.fallback_allocations = fallbacks);
        titled(&findings(&run, &PoolConfig::default()), "High Fallback Rate")
    };
    assert_eq!(found(100), None);
    // Neither the size nor the capacity was short, so the advice is the guide's 4 to 6 heaps.
    assert_eq!(changes(&found(101).unwrap()), ["num_heaps: 4 -> 6"]);
}

#[test]
fn heaps_double_past_the_largest_allocation() {
    let run = statistics(|s| {
        s.fallback_allocations = 200;
        s.largest_allocation_mb = 300.0;
    });
    let found = findings(&run, &PoolConfig::default());
    let finding = titled(&found, "High Fallback Rate").unwrap();
    assert_eq!(changes(&finding), ["heap_size_mb: 256 -> 512"]);
    assert!(finding.evidence.iter().any(|e| e.name == "fallback_rate" && e.value == 0.2));
    let changed = apply(&PoolConfig::default(), &finding);
    assert_eq!(changed, PoolConfig::default().with_heap_size(512 * MIB));

    // A heap must be larger than the largest allocation, so 512 needs 1024.
    let run = statistics(|s| {
        s.fallback_allocations = 127;
        s.largest_allocation_mb = 512.0;
    });
    let found = findings(&run, &PoolConfig::default());
    let finding = titled(&found, "Pool Exhaustion Warnings").unwrap();
    assert_eq!(changes(&finding), ["heap_size_mb: 256 -> 1024"]);
    assert_eq!(finding.explanation, "Allocation (512.0MB) larger than heap (256.0MB)");
}

#[test]
fn low_utilization_cuts_to_what_was_used() {
    let run = |used: f64, largest: f64| {
        let run = statistics(|s| {
            s.utilization = 0.2;
            s.peak_used_mb = used;
            s.largest_allocation_mb = largest;
        });
        titled(&findings(&run, &PoolConfig::default()), "Low Utilization")
    };
    // The advice is the guide's: 4 to 3 heaps, and warm-up sizes cut to those in use.
    assert_eq!(
        changes(&run(500.0, 130.0).unwrap()),
        ["num_heaps: 4 -> 3", "warmup_sizes: [32, 128, 512] -> [32, 128]"]
    );
    // The advice is the guide's 256 to 128.
    assert_eq!(
        changes(&run(90.0, 40.0).unwrap()),
        ["heap_size_mb: 256 -> 128", "num_heaps: 4 -> 1", "warmup_sizes: [32, 128, 512] -> [32]"]
    );
    // At its fullest the pool was full. A pool at rest is not too large for that.
    assert_eq!(run(512.0, 10.0), None);
}

#[test]
fn low_utilization_beside_fallbacks_proposes_no_cut() {
    let run = statistics(|s| s.fallback_allocations = 10);
    let finding = titled(&findings(&run, &PoolConfig::default()), "Low Utilization").unwrap();
    assert!(finding.change.is_empty(), "{finding:?}");
}

#[test]
fn high_concurrency_begins_past_one_buffer_a_heap() {
    let found = |active, config: &PoolConfig| {
        let run = statistics(|s| {
            s.active_allocations = active;
            s.utilization = 0.6;
        });
        titled(&findings(&run, config), "High Concurrency")
    };
    let default = PoolConfig::default();
    assert_eq!(found(4, &default), None);
    assert_eq!(changes(&found(5, &default).unwrap()), ["num_heaps: 4 -> 8"]);
    let packed = default.with_num_heaps(8).with_strategy(Strategy::BestFit);
    assert_eq!(changes(&found(9, &packed).unwrap()), ["allocation_strategy: best-fit -> round-robin"]);
    assert_eq!(found(9, &packed.with_strategy(Strategy::RoundRobin)), None);
}

#[test]
fn large_models_get_the_guides_heaps() {
    let run = |peak, fallbacks| {
        statistics(|s| {
            s.peak_used_mb = peak;
            s.largest_allocation_mb = 1500.0;
            s.fallback_allocations = fallbacks;
        })
    };
    let config = PoolConfig::default().with_num_heaps(8);
    assert_eq!(titled(&findings(&run(10_240.0, 50), &config), "Large"), None);
    assert_eq!(titled(&findings(&run(12_000.0, 0), &config), "Large"), None);
    let finding = titled(&findings(&run(12_000.0, 50), &config), "Large Models (30B+)").unwrap();
    assert_eq!(
        changes(&finding),
        ["heap_size_mb: 256 -> 2048", "warmup_sizes: [32, 128, 512] -> [32, 128, 512, 1024, 2048]"]
    );
}

#[test]
fn the_gravest_finding_comes_first() {
    let run = statistics(|s| {
        s.fallback_allocations = 500;
        s.largest_allocation_mb = 5000.0;
        s.active_allocations = 100;
    });
    let found = findings(&run, &PoolConfig::default());
    let severities: Vec<_> = found.iter().map(|finding| finding.severity).collect();
    assert!(severities.is_sorted_by(|a, b| a >= b), "{severities:?}");
    assert!(titled(&found, "Unusually Large Allocation").is_some());
}

#[test]
fn a_pool_that_counts_nothing_is_not_judged() {
    let config = PoolConfig::default().with_track_statistics(false);
    let found = findings(&Statistics::default(), &config);
    assert_eq!(found.len(), 1);
    assert_eq!(changes(&found[0]), ["track_statistics: false -> true"]);
}

#[test]
fn a_failed_start_gets_the_guides_smaller_pool() {
    let finding = start_failure(&PoolConfig::default(), 1024.0).unwrap();
    assert_eq!(changes(&finding), ["heap_size_mb: 256 -> 128", "num_heaps: 4 -> 2"]);
    assert_eq!(start_failure(&PoolConfig::default(), 1025.0), None);
    assert_eq!(start_failure(&PoolConfig::elastic(), 1.0), None);
}

#[test]
fn leaks_are_counted_in_the_guides_words() {
    let mut last = Statistics::default();
    last.total_allocations = 1532;
    last.total_deallocations = 1498;
    let explanation = at_shutdown(&last).unwrap().explanation;
    assert!(explanation.starts_with("Acquired: 1532, Released: 1498, Leaked: 34 buffers"));
    last.total_deallocations = 1532;
    assert_eq!(at_shutdown(&last), None);
}

#[test]
fn the_formula_gives_the_guides_example() {
    let config = recommend(Some(8192), None, &PoolConfig::default()).config;
    assert_eq!((config.num_heaps, config.heap_size), (4, 3072 * MIB));
    // A small model still gets the smallest heaps of the guide's table.
    let config = recommend(Some(100), None, &PoolConfig::default()).config;
    assert_eq!(config.heap_size, 128 * MIB);
}

#[test]
fn the_tables_give_the_guides_machines() {
    for (ram, heaps, heap_mb) in [(8, 2, 128), (16, 3, 256), (32, 4, 512), (64, 6, 1024), (128, 8, 1024)] {
        let config = recommend(None, Some(ram), &PoolConfig::default()).config;
        assert_eq!((config.num_heaps, config.heap_size / MIB), (heaps, heap_mb), "{ram} GiB");
        assert_eq!(heaps_for_ram(ram).0, heaps);
        assert!(config.warnings().is_empty());
    }
    for (billions, class, heap_mb) in [
        (6.9, ModelClass::Small, 128..=256),
        (7.0, ModelClass::Medium, 256..=512),
        (13.0, ModelClass::Large, 512..=1024),
        (30.0, ModelClass::VeryLarge, 1024..=2048),
    ] {
        assert_eq!(ModelClass::of_billions(billions), class);
        assert_eq!(class.heap_size_mb(), heap_mb);
    }
    assert_eq!(ModelClass::of_weights_mb(8192), ModelClass::VeryLarge);
}

#[test]
fn sizes_of_nothing_and_models_past_memory_are_findings() {
    let found = |model, ram| {
        let recommendation = recommend(Some(model), Some(ram), &PoolConfig::default());
        recommendation.config.validate().unwrap();
        recommendation.findings.iter().map(|f| f.title).collect::<Vec<_>>()
    };
    assert_eq!(found(0, 0), ["Model Size of 0", "Memory of 0"]);
    assert_eq!(found(1, 16), Vec::<&str>::new());
    assert_eq!(found(8192, 16), Vec::<&str>::new());
    assert_eq!(found(13_000, 16), ["Pool Cannot Hold the Model"]);
    assert_eq!(found(16_385, 16), ["Model Larger Than Memory"]);
    assert_eq!(found(u64::MAX, u64::MAX), ["Pool Cannot Hold the Model"]);
}

#[test]
fn review_names_what_a_machine_cannot_give() {
    let titles = |config: &PoolConfig, model, ram| {
        review(config, model, ram).iter().map(|f| f.title).collect::<Vec<_>>()
    };
    let default = PoolConfig::default();
    let oversize = "Warm-up Size Larger Than a Heap";
    assert_eq!(titles(&default, None, None), [oversize]);
    assert_eq!(titles(&default, Some(2000), Some(32)), ["Pool Smaller Than the Model", oversize]);
    assert_eq!(titles(&default, None, Some(16)), [oversize, "Unusual Number of Heaps"]);
    let huge = PoolConfig::default().with_heap_size(5000 * MIB);
    assert_eq!(titles(&huge, None, Some(16)), ["Pool Larger Than Memory"]);
    let large = PoolConfig::default().with_heap_size(3500 * MIB);
    let found = review(&large, None, Some(16));
    assert_eq!(found[0].title, "Pool Crowds Memory");
    assert_eq!(review(&apply(&large, &found[0]), None, Some(16)), []);
}

#[test]
fn a_measured_run_gives_the_pool_that_would_have_held_it() {
    let run = |peak, largest| {
        let run = statistics(|s| {
            s.peak_used_mb = peak;
            s.largest_allocation_mb = largest;
        });
        let config = recommend_for_run(&run, &PoolConfig::default()).config;
        (config.num_heaps, config.heap_size / MIB)
    };
    assert_eq!(run(1000.0, 10.0), (4, 313));
    assert_eq!(run(1000.0, 100.0), (2, 625));
    assert_eq!(run(1000.0, 900.0), (1, 1900));
    let nothing = recommend_for_run(&Statistics::default(), &PoolConfig::default());
    assert_eq!(nothing.config, PoolConfig::default());
    assert_eq!(nothing.findings[0].title, "Nothing Measured");
}

//! A valid configuration means the same after it is written and read back: as a file, by key and by variable.

use std::time::Duration;

use proptest::prelude::*;
use warmheap::PoolConfig;
use warmheap::config::{
    Compaction, ConfigError, HeapSizing, Limits, MIB, Place, RESERVED_VARIABLES, Scrub, Strategy as Choice,
    ThreadCache, keys,
};

fn any_config() -> impl Strategy<Value = PoolConfig> {
    let size = || prop_oneof![1..=1_u64 << 39, (1..=4096_u64).prop_map(|mib| mib * MIB)];
    let heaps = (
        any::<bool>(),
        prop_oneof![Just(HeapSizing::Fixed), Just(HeapSizing::Elastic)],
        size(),
        1..=64_usize,
        prop::collection::vec(size(), 0..6),
    );
    let policy = (
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(Choice::RoundRobin), Just(Choice::BestFit), Just(Choice::LeastUsed)],
        any::<bool>(),
        0..=64_usize,
        1e-6..=1.0,
    );
    let upkeep = (
        any::<bool>(),
        1e-6..=1.0,
        1..=86_400_000_u64,
        0..=1_u64 << 39,
        prop_oneof![Just(Scrub::Never), Just(Scrub::OnFree)],
        any::<bool>(),
        0..=86_400_000_u64,
        1..=1_u64 << 39,
        1..=1_000_000_u64,
    );
    let limit = || (any::<bool>(), 1..=1_u64 << 20).prop_map(|(on, limit)| on.then_some(limit));
    let pressure = (
        limit(),
        limit(),
        any::<bool>(),
        0..=86_400_000_u64,
        prop::collection::btree_map("[a-z][a-zA-Z0-9._-]{0,12}", size(), 0..4),
    );
    (heaps, policy, upkeep, pressure).prop_map(|(heaps, policy, upkeep, pressure)| {
        let past = |soft: Option<u64>| soft.map(|soft| soft + 7);
        PoolConfig::default()
            .with_enabled(heaps.0)
            .with_heap_sizing(heaps.1)
            .with_heap_size(heaps.2)
            .with_num_heaps(heaps.3)
            .with_warmup_sizes(heaps.4)
            .with_track_statistics(policy.0)
            .with_log_exhaustion(policy.1)
            .with_strategy(policy.2)
            .with_dynamic_growth(policy.3)
            .with_max_heaps(policy.4.max(heaps.3))
            .with_growth_trigger(policy.5)
            .with_compaction(
                Compaction::default()
                    .with_enabled(upkeep.0)
                    .with_threshold(upkeep.1)
                    .with_interval(Duration::from_millis(upkeep.2))
                    .with_step_bytes(upkeep.7)
                    .with_step_time(Duration::from_micros(upkeep.8)),
            )
            .with_thread_cache(ThreadCache::new(upkeep.3))
            .with_scrub(upkeep.4)
            .with_thread_heaps(upkeep.5)
            .with_trim_after(Duration::from_millis(upkeep.6))
            .with_limits(
                Limits::default()
                    .with_soft_bytes(pressure.0.map(|mib| mib * MIB / 4))
                    .with_hard_bytes(past(pressure.0).map(|mib| mib * MIB / 4))
                    .with_soft_objects(pressure.1)
                    .with_hard_objects(past(pressure.1))
                    .with_device_budget(pressure.2),
            )
            .with_wait(Duration::from_millis(pressure.3))
            .with_quotas(pressure.4)
    })
}

proptest! {
    #[test]
    fn yaml_written_is_yaml_read(config in any_config()) {
        config.validate().unwrap();
        prop_assert_eq!(PoolConfig::from_yaml_str(&config.to_yaml()).unwrap(), config);
    }

    #[test]
    fn every_key_carries_over_by_name(config in any_config()) {
        let mut copy = PoolConfig::elastic();
        for key in keys() {
            copy.set(key.name(), &config.get(key.name()).unwrap()).unwrap();
        }
        prop_assert_eq!(copy, config);
    }

    #[test]
    fn every_key_carries_over_by_variable(config in any_config()) {
        let variables = keys().iter().map(|key| {
            let text = config.get(key.name()).unwrap().to_string();
            (key.variable(), text.trim_matches(['[', ']', '{', '}']).to_owned())
        });
        prop_assert_eq!(PoolConfig::elastic().with_variables(variables).unwrap(), config);
    }
}

#[test]
fn the_builder_is_held_to_the_same_rules() {
    let error = PoolConfig::default()
        .with_heap_size(0)
        .with_growth_trigger(f64::NAN)
        .with_num_heaps(9)
        .with_dynamic_growth(true)
        .validate()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`heap_size_mb` is `0`; it must be a number of MiB above 0 and at most 524288\n\
         `growth_trigger` is `NaN`; it must be a number above 0 and at most 1\n\
         `num_heaps` is 9, more than `max_heaps` 8, which `dynamic_growth: true` does not allow: \
         lower `num_heaps` or raise `max_heaps`"
    );
    let huge = PoolConfig::default().with_warmup_sizes([u64::MAX]);
    assert!(huge.validate().is_err());
    let mut config = PoolConfig::default();
    let wrong_kind = config.get("scrub").unwrap();
    assert!(config.set("num_heaps", &wrong_kind).is_err());
    assert_eq!(config, PoolConfig::default());
}

#[test]
fn defaults_and_elastic_are_valid() {
    PoolConfig::default().validate().unwrap();
    PoolConfig::elastic().validate().unwrap();
    assert!(PoolConfig::elastic().warnings().is_empty());
}

fn refused(variables: &[(&str, &str)]) -> ConfigError {
    PoolConfig::default().with_variables(variables.iter().copied()).unwrap_err()
}

#[test]
fn variables_are_refused_by_name() {
    assert_eq!(
        refused(&[("WARMHEAP_HEAP_SIZE_MB", "0"), ("WARMHEAP_COMPACTION_ENABLED", "maybe")]).to_string(),
        "WARMHEAP_COMPACTION_ENABLED: `compaction.enabled` is `maybe`; it must be true or false\n\
         WARMHEAP_HEAP_SIZE_MB: `heap_size_mb` is `0`; it must be a number of MiB above 0 and at \
         most 524288"
    );
    assert_eq!(
        refused(&[("WARMHEAP_HEAPSIZE_MB", "512")]).to_string(),
        "WARMHEAP_HEAPSIZE_MB: this variable sets nothing; did you mean WARMHEAP_HEAP_SIZE_MB?"
    );
    let strange = refused(&[("WARMHEAP_ZZZ", "1")]).to_string();
    assert!(strange.contains("known variables are WARMHEAP_ENABLED, "), "{strange}");
    let pair = refused(&[("WARMHEAP_DYNAMIC_GROWTH", "true"), ("WARMHEAP_NUM_HEAPS", "99")]);
    assert_eq!(pair.problems()[0].place, Place::Variable("WARMHEAP_NUM_HEAPS".to_owned()));
}

#[test]
fn other_variables_and_the_reserved_ones_are_passed_over() {
    let reserved = RESERVED_VARIABLES.map(|name| (name, "anything"));
    let others = [("PATH", "/bin"), ("warmheap_num_heaps", "0")];
    let config = PoolConfig::default().with_variables(reserved.into_iter().chain(others)).unwrap();
    assert_eq!(config, PoolConfig::default());
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let value = std::ffi::OsStr::from_bytes(b"\xff");
    let error = PoolConfig::default().with_variables([("WARMHEAP_NUM_HEAPS", value)]);
    let message = error.unwrap_err().to_string();
    assert!(message.starts_with("WARMHEAP_NUM_HEAPS: "), "{message}");
}

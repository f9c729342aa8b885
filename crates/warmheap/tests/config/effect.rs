//! Settings that work, but not as is probably meant: keys without effect, warm-up sizes and limits that the heaps
//! do not fit. The text that is written of what has an effect, and of what has changed.

use warmheap::PoolConfig;
use warmheap::config::{Document, Warning};

/// For every key, a mode in which it has no effect, and the words of the reason.
#[test]
fn keys_without_effect_are_named_also_where_they_have_their_defaults() {
    let named = |text: &str| -> Vec<String> {
        let document = Document::from_text(text).unwrap();
        let warnings = document.config.warnings_for(&document.keys);
        warnings
            .iter()
            .filter_map(|warning| match warning {
                Warning::WithoutEffect { keys, .. } => Some(keys.join(" ")),
                _ => None,
            })
            .collect()
    };
    for (text, keys) in [
        ("max_heaps: 8\ngrowth_trigger: 0.9", &["max_heaps growth_trigger"][..]),
        ("dynamic_growth: true\nnum_heaps: 8\ngrowth_trigger: 0.8", &["dynamic_growth growth_trigger"]),
        ("dynamic_growth: true\nmax_heaps: 8\ngrowth_trigger: 0.8\ntrim_after_ms: 100", &[]),
        ("heap_sizing: elastic\nheap_size_mb: 256\nnum_heaps: 4", &["heap_size_mb num_heaps"]),
        (
            "heap_sizing: elastic\nwarmup_sizes: [32]\nallocation_strategy: best-fit\ndynamic_growth: true\n\
             max_heaps: 9\ngrowth_trigger: 0.5",
            &["warmup_sizes allocation_strategy dynamic_growth max_heaps growth_trigger"],
        ),
        ("heap_sizing: elastic\nthread_cache_mb: 0\nthread_heaps: false", &["thread_heaps"]),
        ("heap_sizing: elastic\ntrim_after_ms: 100\nthread_heaps: false", &[]),
        ("thread_heaps: true", &["thread_heaps"]),
        ("trim_after_ms: 100", &["trim_after_ms"]),
        ("num_heaps: 1\nallocation_strategy: least-used", &["allocation_strategy"]),
        (
            "compaction: {threshold: 0.5, interval_ms: 9, step_mb: 1, step_us: 2}",
            &["compaction.threshold compaction.interval_ms compaction.step_mb compaction.step_us"],
        ),
        ("compaction: {enabled: true, threshold: 0.5}", &[]),
        ("limits: {soft_mb: 2000, hard_mb: 2000}", &["limits.soft_mb"]),
        ("limits: {soft_mb: 2000, hard_mb: 2001}", &[]),
        ("limits: {soft_objects: 9, hard_objects: 9}", &["limits.soft_objects"]),
        ("limits: {hard_mb: 2000}\nquotas: {kv: 3000}", &["quotas"]),
        ("limits: {hard_mb: 2000}\nquotas: {kv: 3000, weights: 100}", &[]),
        (
            "enabled: false\nheap_size_mb: 9\nthread_cache_mb: 1\nlog_exhaustion: true\nscrub: on_free",
            &["heap_size_mb log_exhaustion thread_cache_mb"],
        ),
        ("metal_optimizations: {enabled: false, memory_pool: {num_heaps: 2}}", &["num_heaps"]),
        ("num_heaps: 3\nheap_size_mb: 100\nwarmup_sizes: [1]\nwait_ms: 1\nscrub: on_free", &[]),
    ] {
        assert_eq!(named(text), keys, "{text}");
    }
    // From code, what differs from the defaults is known to be set.
    let config = PoolConfig::default().with_warmup_sizes([]).with_growth_trigger(0.5);
    assert_eq!(config.warnings().len(), 1, "{:?}", config.warnings());
    assert!(PoolConfig::default().with_warmup_sizes([]).warnings().is_empty());
}

#[test]
fn warm_ups_past_a_heap_and_limits_below_the_heaps_are_warned_of() {
    let words = |text: &str| {
        let warnings = PoolConfig::from_yaml_str(text).unwrap().warnings();
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(words("warmup_sizes: [200, 200]").contains("take 400 MiB side by side, more than a heap"));
    assert_eq!(words("warmup_sizes: [100, 156]"), "");
    assert!(words("warmup_sizes: []\nlimits: {soft_mb: 100}").contains("the heaps alone take 1024 MiB"));
    assert!(words("warmup_sizes: []\nlimits: {soft_objects: 3}").contains("the heaps alone take 4:"));
    assert_eq!(words("warmup_sizes: []\nlimits: {soft_mb: 1024, soft_objects: 4}"), "");
    assert_eq!(words("enabled: false\nlimits: {soft_mb: 100}"), "");
}

#[test]
fn what_has_an_effect_and_what_has_changed_reads_back() {
    let config = PoolConfig::default().with_heap_size(100 << 20).with_warmup_sizes([]);
    let text = config.to_effective_yaml();
    assert!(!text.contains("max_heaps") && !text.contains("threshold"), "{text}");
    let document = Document::from_text(&text).unwrap();
    assert_eq!(document.config, config);
    assert!(document.config.warnings_for(&document.keys).is_empty());

    let mut changed = config.clone().with_num_heaps(7);
    changed.limits.soft_bytes = Some(5 << 30);
    let text = changed.to_yaml_changes(&config);
    let lines = "metal_optimizations:\n  memory_pool:\n    num_heaps: 7  # was 4\n    limits:\n      \
                 soft_mb: 5120  # was 0\n";
    assert_eq!(text, lines);
    let mut expected = PoolConfig::default().with_num_heaps(7);
    expected.limits.soft_bytes = Some(5 << 30);
    assert_eq!(PoolConfig::from_yaml_str(&text).unwrap(), expected);
    assert_eq!(config.to_yaml_changes(&config), "");
}

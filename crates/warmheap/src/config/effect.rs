//! Which keys have an effect, given the others. A key that has none is not an error: the same file may serve
//! several machines, and a switch may be off for a while. The reader of a file should know all the same.

use super::error::Warning;
use super::key::keys;
use super::settings::{HeapSizing, PoolConfig};

/// Returns the keys of those that `is_set` names which have no effect, with the reason. Keys with one reason
/// stand together.
pub(crate) fn without_effect(config: &PoolConfig, is_set: impl Fn(&str) -> bool) -> Vec<Warning> {
    let mut found: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    for name in keys().iter().map(|key| key.name()).filter(|name| is_set(name)) {
        let Some(because) = idle(config, name) else { continue };
        match found.iter_mut().find(|(reason, _)| *reason == because) {
            Some((_, names)) => names.push(name),
            None => found.push((because, vec![name])),
        }
    }
    found.into_iter().map(|(because, keys)| Warning::WithoutEffect { keys, because }).collect()
}

/// Returns whether the program has set a key: its value is no default, neither that of fixed heaps nor that of
/// heaps which the pool sizes. A program that switches its pool off leaves the other settings on purpose.
pub(crate) fn differs(config: &PoolConfig, name: &str) -> bool {
    config.enabled
        && config.get(name) != PoolConfig::default().get(name)
        && config.get(name) != PoolConfig::elastic().get(name)
}

/// Returns why a key has no effect, or `None` if it has one.
pub(crate) fn idle(config: &PoolConfig, key: &str) -> Option<&'static str> {
    let most_heaps = if config.dynamic_growth { config.max_heaps } else { config.num_heaps };
    let full = config.dynamic_growth && config.max_heaps == config.num_heaps;
    let elastic = config.heaps == HeapSizing::Elastic;
    let off = !config.enabled;
    let reasons: &[(bool, &[&str], &'static str)] = &[
        (off, FIXED_HEAPS, OFF),
        (off, COMPACTION, OFF),
        (off, HEAPS, OFF),
        (elastic, FIXED_HEAPS, "with `heap_sizing: elastic` the pool sizes its heaps"),
        (!elastic, &["thread_heaps"], "only heaps that grow can be a thread's own (`heap_sizing: elastic`)"),
        (
            config.thread_cache.max_bytes == 0,
            &["thread_heaps"],
            "`thread_cache_mb: 0` lets all threads share",
        ),
        (!config.dynamic_growth, &["max_heaps", "growth_trigger"], "`dynamic_growth` is off"),
        (full, &["dynamic_growth", "growth_trigger"], "`num_heaps` is `max_heaps` already"),
        (
            !elastic && most_heaps <= config.num_heaps,
            &["trim_after_ms"],
            "fixed heaps stay; heaps go back with `heap_sizing: elastic` or `dynamic_growth: true`",
        ),
        (most_heaps == 1, &["allocation_strategy"], "there is one heap to choose from"),
        (!config.compaction.enabled, COMPACTION, "`compaction.enabled` is off"),
        (
            !crossed_first(config.limits.soft_bytes, config.limits.hard_bytes),
            &["limits.soft_mb"],
            "`limits.hard_mb` is as low, so the pool fails before it gives back",
        ),
        (
            !crossed_first(config.limits.soft_objects, config.limits.hard_objects),
            &["limits.soft_objects"],
            "`limits.hard_objects` is as low, so the pool fails before it gives back",
        ),
        (
            !config.quotas.is_empty()
                && config
                    .quotas
                    .values()
                    .all(|quota| config.limits.hard_bytes.is_some_and(|most| *quota > most)),
            &["quotas"],
            "`limits.hard_mb` is below each of them",
        ),
    ];
    reasons.iter().find(|(holds, keys, _)| *holds && keys.contains(&key)).map(|(_, _, because)| *because)
}

/// Returns whether a soft limit, if there is one, is crossed before its hard limit.
fn crossed_first(soft: Option<u64>, hard: Option<u64>) -> bool {
    soft.zip(hard).is_none_or(|(soft, hard)| soft < hard)
}

/// The sizes of fixed heaps, and how they are used. A program that sets one of them wants such heaps.
pub(crate) const FIXED_HEAPS: &[&str] = &[
    "heap_size_mb",
    "num_heaps",
    "warmup_sizes",
    "allocation_strategy",
    "dynamic_growth",
    "max_heaps",
    "growth_trigger",
];

const COMPACTION: &[&str] =
    &["compaction.threshold", "compaction.interval_ms", "compaction.step_mb", "compaction.step_us"];

/// What else concerns heaps, which a pool that is off does not have.
const HEAPS: &[&str] = &[
    "heap_sizing",
    "log_exhaustion",
    "compaction.enabled",
    "thread_cache_mb",
    "thread_heaps",
    "trim_after_ms",
];

const OFF: &str = "`enabled: false` sends every request to the device";

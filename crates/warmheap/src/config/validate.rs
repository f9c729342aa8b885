//! The checks of settings, each alone and together. Builder, file and environment all use them.

use super::error::{Fault, Warning};
use super::key::{Key, find, keys};
use super::mib;
use super::settings::{HeapSizing, PoolConfig};
use super::value::Value;

/// Returns every fault with the keys that may have caused it, the likeliest first.
pub(crate) fn faults(config: &PoolConfig) -> impl Iterator<Item = (Vec<&'static str>, Fault)> {
    let single = keys().iter().filter_map(|key| {
        let value = (key.get)(config);
        (!key.rule.accepts(&value)).then(|| (vec![key.name()], bad_value(key, &value)))
    });
    let crowded =
        config.heaps == HeapSizing::Fixed && config.dynamic_growth && config.num_heaps > config.max_heaps;
    let joint = crowded.then_some((
        vec!["num_heaps", "max_heaps", "dynamic_growth"],
        Fault::HeapsPastMaximum { num_heaps: config.num_heaps, max_heaps: config.max_heaps },
    ));
    let limits = [("limits.soft_mb", "limits.hard_mb"), ("limits.soft_objects", "limits.hard_objects")];
    let value = move |key| find(key).map(|key| (key.get)(config));
    let crossed = limits.into_iter().filter_map(move |(soft_key, hard_key)| {
        let (soft, hard) = (value(soft_key)?, value(hard_key)?);
        let (Value::Number(low), Value::Number(high)) = (&soft, &hard) else { return None };
        let fault =
            Fault::SoftPastHard { soft_key, soft: soft.to_string(), hard_key, hard: hard.to_string() };
        (*high > 0.0 && low > high).then_some((vec![soft_key, hard_key], fault))
    });
    single.chain(joint).chain(crossed)
}

/// Returns a warning for each setting of fixed heaps that works but is probably not meant.
pub(crate) fn warnings(config: &PoolConfig) -> Vec<Warning> {
    let PoolConfig { enabled, heaps, heap_size, num_heaps, ref warmup_sizes, ref limits, .. } = *config;
    if !enabled || heaps == HeapSizing::Elastic {
        return Vec::new();
    }
    let (held, oversize): (Vec<u64>, Vec<u64>) = warmup_sizes.iter().partition(|size| **size <= heap_size);
    let sum = held.iter().fold(0_u64, |sum, size| sum.saturating_add(*size));
    let oversize = oversize.into_iter().map(|size| Warning::WarmupLargerThanHeap { size, heap_size });
    let side_by_side = (sum > heap_size).then_some(Warning::WarmupsLargerThanHeap { sum, heap_size });
    let all = heap_size.saturating_mul(num_heaps as u64);
    let bytes = limits.soft_bytes.filter(|soft| all > *soft).map(|soft| Warning::SoftLimitCrossedAtStart {
        key: "limits.soft_mb",
        limit: format!("{} MiB", mib(soft)),
        heaps: format!("{} MiB", mib(all)),
    });
    let objects = limits.soft_objects.filter(|soft| num_heaps as u64 > *soft);
    let objects = objects.map(|soft| Warning::SoftLimitCrossedAtStart {
        key: "limits.soft_objects",
        limit: soft.to_string(),
        heaps: num_heaps.to_string(),
    });
    oversize.chain(side_by_side).chain(bytes).chain(objects).collect()
}

/// Returns the fault of a value that the key may not hold.
pub(crate) fn bad_value(key: &Key, value: &Value) -> Fault {
    Fault::BadValue { key: key.name(), found: format!("`{value}`"), allowed: key.allowed(), hint: "" }
}

//! The table of keys. Each entry ties a name to a field of [`PoolConfig`] and to the values that the
//! field may hold. Files, variables and findings all take the names from here.

use std::time::Duration;

use super::rule::{MAX_HEAPS, Rule};
use super::settings::{HeapSizing, PoolConfig, Scrub, Strategy};
use super::value::Value;
use super::{MIB, mib};

/// The prefix of every environment variable of Warmheap.
pub const VARIABLE_PREFIX: &str = "WARMHEAP_";

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    name: &'static str,
    pub(crate) rule: Rule,
    pub(crate) get: fn(&PoolConfig) -> Value,
    /// Called only with a value that `rule` accepts. Any other value leaves the field alone.
    pub(crate) set: fn(&mut PoolConfig, &Value),
}

impl Key {
    /// Returns the key as written under `memory_pool`, with a dot where it nests: `compaction.enabled`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the environment variable that overrides the key: `WARMHEAP_COMPACTION_ENABLED`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Describes the values that the key may hold: `a whole number from 1 to 4096`.
    #[must_use]
    pub fn allowed(&self) -> String {
        self.rule.to_string()
    }
}

/// Returns every configuration key, in the order in which files and documents list them.
#[must_use]
pub fn keys() -> &'static [Key] {
    KEYS
}

pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Serializes every key by its name, with the value in the key's unit.
#[cfg(feature = "serde")]
impl serde::Serialize for PoolConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(keys().iter().map(|key| (key.name(), (key.get)(self))))
    }
}

const HEAPS: Rule = Rule::Whole { min: 1.0, max: MAX_HEAPS as f64 };
/// Up to a day.
const MILLISECONDS: Rule = Rule::Whole { min: 1.0, max: DAY };
/// As [`MILLISECONDS`], where 0 switches the setting off.
const OR_NONE: Rule = Rule::Whole { min: 0.0, max: DAY };
/// Up to a second.
const MICROSECONDS: Rule = Rule::Whole { min: 1.0, max: 1e6 };
const DAY: f64 = 86_400_000.0;
const OBJECTS: Rule = Rule::Whole { min: 0.0, max: 1e9 };

/// A key whose field is a `bool`.
macro_rules! switch {
    ($name:literal, $($field:ident).+) => {
        Key {
            name: $name,
            rule: Rule::Switch,
            get: |config| Value::Switch(config.$($field).+),
            set: |config, value| {
                if let Value::Switch(on) = value {
                    config.$($field).+ = *on;
                }
            },
        }
    };
}

/// A key whose field is a number, converted from and to the key's unit.
macro_rules! number {
    ($name:literal, $rule:expr, $($field:ident).+, $to:expr, $from:expr) => {
        Key {
            name: $name,
            rule: $rule,
            get: |config| Value::Number($to(config.$($field).+)),
            set: |config, value| {
                if let Value::Number(number) = value {
                    config.$($field).+ = $from(*number);
                }
            },
        }
    };
}

/// A key whose field is an enum, with a word for each variant.
macro_rules! word {
    ($name:literal, $field:ident, $($word:literal => $variant:path),+) => {
        Key {
            name: $name,
            rule: Rule::Word(&[$($word),+]),
            get: |config| Value::Word(match config.$field { $($variant => $word),+ }),
            set: |config, value| match value {
                $(Value::Word($word) => config.$field = $variant,)+
                _ => {}
            },
        }
    };
}

static KEYS: &[Key] = &[
    switch!("enabled", enabled),
    word!("heap_sizing", heaps, "fixed" => HeapSizing::Fixed, "elastic" => HeapSizing::Elastic),
    number!("heap_size_mb", Rule::Size { zero: false }, heap_size, mib, bytes),
    number!("num_heaps", HEAPS, num_heaps, from_count, count),
    Key {
        name: "warmup_sizes",
        rule: Rule::Sizes,
        get: |config| Value::Sizes(config.warmup_sizes.iter().copied().map(mib).collect()),
        set: |config, value| {
            if let Value::Sizes(sizes) = value {
                config.warmup_sizes = sizes.iter().copied().map(bytes).collect();
            }
        },
    },
    switch!("track_statistics", track_statistics),
    switch!("log_exhaustion", log_exhaustion),
    word!(
        "allocation_strategy", strategy,
        "round-robin" => Strategy::RoundRobin,
        "best-fit" => Strategy::BestFit,
        "least-used" => Strategy::LeastUsed
    ),
    switch!("dynamic_growth", dynamic_growth),
    number!("max_heaps", HEAPS, max_heaps, from_count, count),
    number!("growth_trigger", Rule::Ratio, growth_trigger, f64::from, f64::from),
    switch!("compaction.enabled", compaction.enabled),
    number!("compaction.threshold", Rule::Ratio, compaction.threshold, f64::from, f64::from),
    number!("compaction.interval_ms", MILLISECONDS, compaction.interval, milliseconds, duration),
    number!("compaction.step_mb", Rule::Size { zero: false }, compaction.step_bytes, mib, bytes),
    number!("compaction.step_us", MICROSECONDS, compaction.step_time, microseconds, from_microseconds),
    number!("thread_cache_mb", Rule::Size { zero: true }, thread_cache.max_bytes, mib, bytes),
    switch!("thread_heaps", thread_heaps),
    word!("scrub", scrub, "never" => Scrub::Never, "on_free" => Scrub::OnFree),
    number!("trim_after_ms", OR_NONE, trim_after, milliseconds, duration),
    number!("wait_ms", OR_NONE, wait, milliseconds, duration),
    Key {
        name: "quotas",
        rule: Rule::Quotas,
        get: |config| {
            Value::Quotas(config.quotas.iter().map(|(tag, most)| (tag.clone(), mib(*most))).collect())
        },
        set: |config, value| {
            if let Value::Quotas(quotas) = value {
                config.quotas = quotas.iter().map(|(tag, most)| (tag.clone(), bytes(*most))).collect();
            }
        },
    },
    number!("limits.soft_mb", Rule::Size { zero: true }, limits.soft_bytes, mib_or_none, bytes_or_none),
    number!("limits.hard_mb", Rule::Size { zero: true }, limits.hard_bytes, mib_or_none, bytes_or_none),
    number!("limits.soft_objects", OBJECTS, limits.soft_objects, count_or_none, some_count),
    number!("limits.hard_objects", OBJECTS, limits.hard_objects, count_or_none, some_count),
    switch!("limits.device_budget", limits.device_budget),
];

/// Converts MiB to bytes, rounded to the nearest.
fn bytes(mib: f64) -> u64 {
    (mib * MIB as f64).round() as u64
}

/// Converts a limit as the next three functions do: a 0 in a file means no limit.
fn mib_or_none(limit: Option<u64>) -> f64 {
    limit.map_or(0.0, mib)
}

fn bytes_or_none(mib: f64) -> Option<u64> {
    Some(bytes(mib)).filter(|limit| *limit > 0)
}

fn count_or_none(limit: Option<u64>) -> f64 {
    limit.map_or(0.0, |count| count as f64)
}

fn some_count(number: f64) -> Option<u64> {
    Some(number as u64).filter(|limit| *limit > 0)
}

fn from_count(count: usize) -> f64 {
    count as f64
}

fn count(number: f64) -> usize {
    number as usize
}

fn milliseconds(interval: Duration) -> f64 {
    interval.as_nanos() as f64 / 1e6
}

fn duration(milliseconds: f64) -> Duration {
    Duration::from_millis(milliseconds as u64)
}

fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn from_microseconds(microseconds: f64) -> Duration {
    Duration::from_micros(microseconds as u64)
}

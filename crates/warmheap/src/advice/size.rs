//! The size of a pool before anything has run, from the model's weights and the machine's memory. The
//! formula and the tables are those of `docs/compatibility.md`.
//!
//! Formula and table can disagree: for 8192 MiB of weights in 4 heaps, the formula gives heaps of 3072
//! MiB and the table at most 2048. The formula decides, because the pool must hold the weights. The table
//! gives the smallest heap worth making.

use std::ops::RangeInclusive;

use super::{Finding, Severity};
use crate::config::{HeapSizing, MAX_HEAP_SIZE, MIB, PoolConfig};

/// A recommended configuration, with findings and an explanation.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Recommendation {
    /// The whole configuration. It is valid if the configuration it was made from is valid.
    pub config: PoolConfig,
    /// The obstacles, and input that was ignored.
    pub findings: Vec<Finding>,
    /// How the sizes were computed, in a sentence.
    pub explanation: String,
}

/// Models by their number of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModelClass {
    /// Models below 7 billion parameters.
    Small,
    /// Models of 7 to 13 billion parameters.
    Medium,
    /// Models of 13 to 30 billion parameters.
    Large,
    /// Models of 30 billion parameters and more.
    VeryLarge,
}

/// The weights of a model quantised to 4 bits: 30 billion parameters take 8192 MiB.
const MIB_PER_BILLION: f64 = 8192.0 / 30.0;

impl ModelClass {
    /// Returns the class of a model with so many billion parameters.
    #[must_use]
    pub fn of_billions(parameters: f64) -> Self {
        match parameters {
            p if p >= 30.0 => Self::VeryLarge,
            p if p >= 13.0 => Self::Large,
            p if p >= 7.0 => Self::Medium,
            _ => Self::Small,
        }
    }

    /// Returns the class of a model whose weights take so many MiB, quantised to 4 bits.
    #[must_use]
    pub fn of_weights_mb(weights: u64) -> Self {
        Self::of_billions(weights as f64 / MIB_PER_BILLION)
    }

    /// Returns the usual MiB of each heap for this class.
    #[must_use]
    pub fn heap_size_mb(self) -> RangeInclusive<u64> {
        match self {
            Self::Small => 128..=256,
            Self::Medium => 256..=512,
            Self::Large => 512..=1024,
            Self::VeryLarge => 1024..=2048,
        }
    }
}

/// Returns the usual number of heaps on a machine with so many GiB, and the usual range. The table has
/// machines of 16, 32, 64 and 128 GiB. Between two of them the smaller decides.
#[must_use]
pub fn heaps_for_ram(ram_gb: u64) -> (usize, RangeInclusive<usize>) {
    match ram_gb {
        0..16 => (2, 2..=3),
        16..32 => (3, 2..=3),
        32..64 => (4, 4..=6),
        64..128 => (6, 6..=8),
        _ => (8, 6..=8),
    }
}

/// Returns the usual MiB of each heap on a machine with so many GiB, for a model of unknown size. Below
/// 16 GiB it is the size that is proposed after a failed start.
fn heap_mb_for_ram(ram_gb: u64) -> u64 {
    match ram_gb {
        0..16 => 128,
        16..32 => 256,
        32..64 => 512,
        _ => 1024,
    }
}

/// Returns the MiB that a pool may take of a machine's memory. A quarter is left to everything else.
pub(super) fn usable_mb(ram_gb: u64) -> u64 {
    ram_gb.saturating_mul(768)
}

/// Recommends a pool for a model whose weights take `model_mb` MiB, on a machine with `ram_gb` GiB. Either
/// may be unknown. `heap_size_mb` is `(model_mb / num_heaps) x 1.5`, and the machine's memory decides
/// `num_heaps`. The hard limits of `base` bound both. Every other setting is as in `base`. A size of 0 and a
/// model that does not fit are findings. A pool that is off or sizes its own heaps keeps its settings.
#[must_use]
pub fn recommend(model_mb: Option<u64>, ram_gb: Option<u64>, base: &PoolConfig) -> Recommendation {
    let mut findings = Vec::new();
    let mut known = |size: Option<u64>, title, what: &str| {
        if size == Some(0) {
            let why = format!("{what} cannot be 0, so the size was ignored");
            findings.push(Finding::new(title, Severity::Error).because(why));
        }
        size.filter(|size| *size > 0)
    };
    let model = known(model_mb, "Model Size of 0", "a model's weights");
    let ram = known(ram_gb, "Memory of 0", "a machine's memory");

    if let Some(why) = no_sizes(base) {
        findings.extend(model.zip(ram).and_then(|(model, ram)| fit(model, ram, u64::MAX)));
        return Recommendation { config: base.clone(), findings, explanation: why.to_owned() };
    }
    let most = base.limits.hard_objects.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let num_heaps = ram.map_or(base.num_heaps, |gb| heaps_for_ram(gb).0).min(most).max(1);
    let heaps = num_heaps as u64;
    let (asked_mb, mut explanation) = match (model, ram) {
        (Some(model), _) => {
            let smallest = *ModelClass::Small.heap_size_mb().start();
            let formula = model.saturating_mul(3).div_ceil(heaps * 2);
            (
                formula.max(smallest),
                format!("heap_size_mb = ({model} / {num_heaps}) x 1.5 = {formula}, at least {smallest}"),
            )
        }
        (None, Some(ram)) => (heap_mb_for_ram(ram), format!("the usual pool for {ram} GiB of memory")),
        (None, None) => {
            let why = "neither model nor memory is known, so the sizes are unchanged";
            (base.heap_size.div_ceil(MIB), why.to_owned())
        }
    };
    let room_mb = ram.map_or(u64::MAX, usable_mb) / heaps;
    let allowed_mb = base.limits.hard_bytes.map_or(u64::MAX, |most| most / MIB) / heaps;
    let heap_mb = asked_mb.min(room_mb).min(allowed_mb).clamp(1, MAX_HEAP_SIZE / MIB);
    if heap_mb < asked_mb && allowed_mb < room_mb {
        explanation += &format!("; `limits.hard_mb` limits it to {heap_mb}");
    } else if heap_mb < asked_mb {
        explanation += &format!("; the memory of the machine limits it to {heap_mb}");
    }
    if let (Some(model), Some(ram)) = (model, ram) {
        findings.extend(fit(model, ram, heap_mb * heaps));
    }
    Recommendation { config: fixed(base, heap_mb * MIB, num_heaps), findings, explanation }
}

/// Returns why no size has an effect on a pool with these settings, if there is a reason.
pub(super) fn no_sizes(config: &PoolConfig) -> Option<&'static str> {
    if !config.enabled {
        Some("the pool is off (`enabled: false`), so no size has an effect and the settings are unchanged")
    } else if config.heaps == HeapSizing::Elastic {
        Some("the pool sizes its own heaps (`heap_sizing: elastic`), so there is no size to set")
    } else {
        None
    }
}

/// Returns a finding if the model or the pool does not fit in memory.
fn fit(model: u64, ram: u64, capacity: u64) -> Option<Finding> {
    let ram_mb = ram.saturating_mul(1024);
    let (title, severity, why) = if model > ram_mb {
        let why = "use a smaller model, stronger quantisation or a machine with more memory";
        ("Model Larger Than Memory", Severity::Error, why)
    } else if capacity < model {
        let why = "a quarter of the memory is left to the system, and what remains cannot hold the \
                   weights; the device will serve the rest, request by request";
        ("Pool Cannot Hold the Model", Severity::Warning, why)
    } else {
        return None;
    };
    Some(
        Finding::new(title, severity)
            .shown_by([
                ("model_mb", model as f64),
                ("ram_mb", ram_mb as f64),
                ("total_capacity_mb", capacity as f64),
            ])
            .because(why),
    )
}

/// Returns `base` with fixed heaps of this size and number, without warm-up sizes that they cannot hold.
pub(super) fn fixed(base: &PoolConfig, heap_size: u64, num_heaps: usize) -> PoolConfig {
    let mut config = base
        .clone()
        .with_heap_size(heap_size)
        .with_num_heaps(num_heaps)
        .with_warmup_sizes(held_warmups(&base.warmup_sizes, heap_size));
    if base.dynamic_growth {
        config.max_heaps = base.max_heaps.max(num_heaps);
    }
    config
}

/// Returns those of the warm-up sizes that fit in a heap side by side, the earlier ones first.
pub(super) fn held_warmups(sizes: &[u64], heap_size: u64) -> Vec<u64> {
    let mut left = heap_size;
    let mut held = sizes.to_vec();
    held.retain(|size| match left.checked_sub(*size) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    held
}

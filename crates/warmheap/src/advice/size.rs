//! The size of a pool before anything has run, from the model's weights and the machine's memory. The
//! formula and the tables are those of `docs/compatibility.md`.
//!
//! Formula and table can disagree: for 8192 MiB of weights in 4 heaps, the formula gives heaps of 3072
//! MiB and the table at most 2048. The formula decides, because the pool must hold the weights. The table
//! gives the smallest heap worth making.

use std::ops::RangeInclusive;

use super::{Finding, Severity, mib};
use crate::config::{HeapSizing, MAX_HEAP_SIZE, MIB, PoolConfig, Warning};

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
fn usable_mb(ram_gb: u64) -> u64 {
    ram_gb.saturating_mul(768)
}

/// Recommends a pool for a model whose weights take `model_mb` MiB, on a machine with `ram_gb` GiB. Either
/// may be unknown. `heap_size_mb` is `(model_mb / num_heaps) x 1.5`, and the machine's memory decides
/// `num_heaps`. Every other setting is as in `base`. A size of 0 and a model that does not fit are
/// findings.
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

    let num_heaps = ram.map_or(base.num_heaps.max(1), |gb| heaps_for_ram(gb).0);
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
    let heap_mb = asked_mb.min(room_mb).min(MAX_HEAP_SIZE / MIB);
    if heap_mb < asked_mb {
        explanation += &format!("; the memory of the machine limits it to {heap_mb}");
    }
    if let (Some(model), Some(ram)) = (model, ram) {
        findings.extend(fit(model, ram, heap_mb * heaps));
    }
    Recommendation { config: fixed(base, heap_mb * MIB, num_heaps), findings, explanation }
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
    let mut warmup_sizes = match base.heaps {
        HeapSizing::Fixed => base.warmup_sizes.clone(),
        HeapSizing::Elastic => PoolConfig::default().warmup_sizes,
    };
    warmup_sizes.retain(|size| *size <= heap_size);
    base.clone()
        .with_heap_sizing(HeapSizing::Fixed)
        .with_heap_size(heap_size)
        .with_num_heaps(num_heaps)
        .with_max_heaps(base.max_heaps.max(num_heaps))
        .with_warmup_sizes(warmup_sizes)
}

/// Judges a configuration before it runs, from what is known of the model and the machine. Returns the
/// findings, the gravest first.
#[must_use]
pub fn review(config: &PoolConfig, model_mb: Option<u64>, ram_gb: Option<u64>) -> Vec<Finding> {
    if !config.enabled || config.heaps == HeapSizing::Elastic {
        return recommend(model_mb, ram_gb, config).findings;
    }
    let recommended = recommend(model_mb, ram_gb, config);
    let capacity = config.heap_size.saturating_mul(config.num_heaps as u64);
    let capacity_mb = mib(capacity);
    let mut found = recommended.findings;
    let resized = |title, severity, limit| {
        Finding::new(title, severity)
            .shown_by([("total_capacity_mb", capacity_mb), limit])
            .proposing(config, &recommended.config)
    };
    if let Some(ram) = ram_gb.filter(|gb| *gb > 0) {
        let ram_mb = ram as f64 * 1024.0;
        let (usual, range) = heaps_for_ram(ram);
        if capacity_mb > ram_mb {
            found.push(
                resized("Pool Larger Than Memory", Severity::Error, ("ram_mb", ram_mb))
                    .because("start-up will fail: the heaps need more memory than the machine has"),
            );
        } else if capacity_mb > usable_mb(ram) as f64 {
            found.push(
                resized("Pool Crowds Memory", Severity::Warning, ("ram_mb", ram_mb))
                    .because("the pool leaves less than a quarter of the memory to everything else"),
            );
        } else if !range.contains(&config.num_heaps) {
            let (low, high) = range.into_inner();
            found.push(
                resized("Unusual Number of Heaps", Severity::Info, ("num_heaps", config.num_heaps as f64))
                    .because(format!("usual for {ram} GiB are {low} to {high} heaps, mostly {usual}")),
            );
        }
    }
    if let Some(model) = model_mb.filter(|mb| *mb as f64 > capacity_mb) {
        found.push(
            resized("Pool Smaller Than the Model", Severity::Warning, ("model_mb", model as f64))
                .because("the weights alone do not fit in the heaps; the device will serve the rest"),
        );
    }
    found.extend(config.warnings().iter().map(|warning| unheld(warning, config)));
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn unheld(warning: &Warning, config: &PoolConfig) -> Finding {
    let Warning::WarmupLargerThanHeap { size, heap_size } = warning;
    let mut without = config.clone();
    without.warmup_sizes.retain(|other| other != size);
    Finding::new("Warm-up Size Larger Than a Heap", Severity::Warning)
        .shown_by([("warmup_size_mb", mib(*size)), ("heap_size_mb", mib(*heap_size))])
        .proposing(config, &without)
        .because("no heap can hold this size, so it is skipped")
}

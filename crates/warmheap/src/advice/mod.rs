//! Judges [`Statistics`] and [`PoolConfig`], and says what to change. All functions are pure.
//!
//! ```
//! use std::sync::Arc;
//! use warmheap::config::{MIB, PoolConfig};
//! use warmheap::device::sim::SimDevice;
//! use warmheap::{Pool, advice};
//!
//! let config = PoolConfig::default().with_heap_size(8 * MIB).with_num_heaps(1).with_warmup_sizes([]);
//! let pool = Pool::new(Arc::new(SimDevice::new()), config.clone())?;
//! let large = pool.allocate(12 * MIB)?; // no heap is as large
//! let finding = &advice::findings(&pool.statistics(), &config)[0];
//! assert_eq!(finding.title, "Pool Exhaustion Warnings");
//! assert_eq!(advice::apply(&config, finding).heap_size, 16 * MIB);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Library, command and bindings all take their judgements from here, so they cannot disagree. This
//! module never reads a pool, a device or a clock. A configuration changes only if the caller calls
//! [`apply`].
//!
//! The tables, scenarios and formula implement an existing description of such a pool, "the guide".
//! `docs/compatibility.md` lists them, and where Warmheap differs.

#![forbid(unsafe_code)]

mod grade;
mod joint;
mod review;
mod run;
mod scenario;
mod size;
mod trouble;
mod warm;

pub use grade::{Grade, Grades, fallback_rate, hit_rate, utilization};
pub use review::{review, review_start, suitability};
pub use run::recommend_for_run;
pub use size::{ModelClass, Recommendation, heaps_for_ram, recommend};
pub use trouble::{at_shutdown, start_failure};
pub use warm::findings_with_sizes;

use crate::config::{MIB, PoolConfig, Value, keys, mib};
use crate::stats::Statistics;

/// How much a judgement matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Severity {
    /// The judgement is worth knowing.
    Info,
    /// The pool wastes memory or speed.
    Warning,
    /// The pool does not do what it is for.
    Error,
}

impl Severity {
    /// Returns the sign that marks a line of this severity.
    #[must_use]
    pub fn mark(self) -> &'static str {
        match self {
            Self::Info => "✅",
            Self::Warning => "⚠️",
            Self::Error => "❌",
        }
    }
}

/// One observation about a pool, with the numbers that show it and the settings that would help.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// The name of the finding.
    pub title: &'static str,
    /// How much the finding matters.
    pub severity: Severity,
    /// The numbers that show it.
    pub evidence: Vec<Evidence>,
    /// The settings to change. The list is empty where settings do not help. Each finding proposes its
    /// change for the configuration that was judged, whatever other findings propose.
    pub change: Vec<Change>,
    /// The reason, in a sentence or two.
    pub explanation: String,
}

/// One number behind a finding.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Evidence {
    /// The statistic or setting. Its name contains its unit.
    pub name: &'static str,
    /// The value.
    pub value: f64,
}

/// One setting to change.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Change {
    /// The configuration key.
    pub key: &'static str,
    /// The value now.
    pub from: Value,
    /// The proposed value.
    pub to: Value,
}

/// Returns everything that the statistics of a pool with this configuration show: tuning scenarios and
/// troubleshooting, the gravest first.
#[must_use]
pub fn findings(statistics: &Statistics, config: &PoolConfig) -> Vec<Finding> {
    if !config.track_statistics {
        return vec![unseen(config)];
    }
    let mut found: Vec<_> = trouble::CHECKS
        .iter()
        .chain(scenario::CHECKS)
        .filter_map(|check| check(statistics, config))
        .collect();
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

/// Returns `config` with a finding's change made.
#[must_use]
pub fn apply(config: &PoolConfig, finding: &Finding) -> PoolConfig {
    let mut changed = config.clone();
    for change in &finding.change {
        // The changes of a finding always name known keys and valid values. A change that a caller built
        // with others leaves the setting as it is.
        let _ = changed.set(change.key, &change.to);
    }
    changed
}

/// Returns `config` with all findings followed. Findings of one call agree with each other, so their order does
/// not matter. What is proposed for information only is left as it is. `PoolConfig::to_yaml_changes` makes
/// the text to paste of it.
#[must_use]
pub fn follow(config: &PoolConfig, findings: &[Finding]) -> PoolConfig {
    let advised = findings.iter().filter(|finding| finding.severity > Severity::Info);
    advised.fold(config.clone(), |config, finding| apply(&config, finding))
}

fn unseen(config: &PoolConfig) -> Finding {
    Finding::new("Statistics Off", Severity::Warning)
        .proposing(config, &config.clone().with_track_statistics(true))
        .because("statistics are off, so there is nothing to judge")
}

type Check = fn(&Statistics, &PoolConfig) -> Option<Finding>;

impl Finding {
    fn new(title: &'static str, severity: Severity) -> Self {
        Self { title, severity, evidence: Vec::new(), change: Vec::new(), explanation: String::new() }
    }

    fn shown_by<const N: usize>(mut self, evidence: [(&'static str, f64); N]) -> Self {
        self.evidence = evidence.map(|(name, value)| Evidence { name, value }).into();
        self
    }

    fn proposing(mut self, from: &PoolConfig, to: &PoolConfig) -> Self {
        self.change = changes(from, to);
        self
    }

    fn because(mut self, explanation: impl Into<String>) -> Self {
        self.explanation = explanation.into();
        self
    }
}

/// Returns the keys in which two configurations differ.
fn changes(from: &PoolConfig, to: &PoolConfig) -> Vec<Change> {
    keys()
        .iter()
        .map(|key| Change { key: key.name(), from: (key.get)(from), to: (key.get)(to) })
        .filter(|change| change.from != change.to)
        .collect()
}

fn peak_mb(statistics: &Statistics) -> f64 {
    statistics.peak_used_mb.max(statistics.used_capacity_mb)
}

/// Converts MiB to bytes, rounded up. NaN becomes 0.
fn bytes(mib: f64) -> u64 {
    (mib * MIB as f64).ceil() as u64
}

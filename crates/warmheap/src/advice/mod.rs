//! What the numbers mean and what to change: the guide's tables, scenarios and formula as pure
//! functions over [`Statistics`] and [`PoolConfig`].
//!
//! Library, command and bindings all take their judgements from here, so they cannot disagree.
//! Nothing here looks at a pool, a device or a clock, and nothing is changed unless the caller
//! [`apply`]s it.
//!
//! Where the guide's tables and its samples of code differ at a boundary, the tables decide, and
//! a boundary belongs to the better grade: a hit rate of exactly 90 % and its mirror, a fallback
//! rate of exactly 10 %, are judged alike.

#![forbid(unsafe_code)]

mod grade;
mod run;
mod scenario;
mod size;
mod trouble;

pub use grade::{Grade, Grades, fallback_rate, hit_rate, utilization};
pub use run::recommend_for_run;
pub use size::{ModelClass, Recommendation, heaps_for_ram, recommend, review};
pub use trouble::{at_shutdown, start_failure};

use crate::config::{MIB, PoolConfig, Value, keys, mib};
use crate::stats::Statistics;

/// How much a judgement matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Costs memory or speed.
    Warning,
    /// Does not do what it is for.
    Error,
}

impl Severity {
    /// The guide's sign for it.
    #[must_use]
    pub fn mark(self) -> &'static str {
        match self {
            Self::Info => "✅",
            Self::Warning => "⚠️",
            Self::Error => "❌",
        }
    }
}

/// Something found, with the numbers that show it and the settings that would answer it.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Finding {
    /// What it is called; the guide's title where it has one.
    pub title: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// The numbers it rests on.
    pub evidence: Vec<Evidence>,
    /// The settings to change; empty where settings do not help. Each finding's change stands
    /// alone: it is made for the configuration that was judged.
    pub change: Vec<Change>,
    /// Why, in a sentence or two.
    pub explanation: String,
}

/// One number behind a finding.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Evidence {
    /// The statistic or setting, its unit in its name.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

/// One setting to change.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Change {
    /// The configuration key.
    pub key: &'static str,
    /// Its value now.
    pub from: Value,
    /// The value proposed.
    pub to: Value,
}

/// Everything the statistics of a pool with this configuration show, the gravest first: tuning
/// scenarios and troubleshooting.
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

/// `config` with a finding's change made.
#[must_use]
pub fn apply(config: &PoolConfig, finding: &Finding) -> PoolConfig {
    let mut changed = config.clone();
    for change in &finding.change {
        // A change was made from a configuration's own keys and values; one put together by hand
        // that names something else leaves the setting as it is.
        let _ = changed.set(change.key, &change.to);
    }
    changed
}

fn unseen(config: &PoolConfig) -> Finding {
    Finding::new("Statistics Off", Severity::Info)
        .proposing(config, &config.clone().with_track_statistics(true))
        .because("nothing was counted, so nothing can be judged")
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

/// The keys in which two configurations differ.
fn changes(from: &PoolConfig, to: &PoolConfig) -> Vec<Change> {
    keys()
        .iter()
        .map(|key| Change { key: key.name(), from: (key.get)(from), to: (key.get)(to) })
        .filter(|change| change.from != change.to)
        .collect()
}

/// Rounded up; what is not a number is 0.
fn bytes(mib: f64) -> u64 {
    (mib * MIB as f64).ceil() as u64
}

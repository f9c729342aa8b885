//! The grades of three figures: hit rate, utilisation and fallback rate. The words and sentences are
//! fixed by `docs/compatibility.md`.

use std::fmt;

use super::Severity;
use crate::stats::{PoolKind, Statistics};

/// The judgement of one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Grade {
    /// The grade in a word: `Excellent`.
    pub label: &'static str,
    /// The judgement in a sentence: `Pool sized correctly`.
    pub text: &'static str,
    /// How much the judgement matters.
    pub severity: Severity,
}

impl Grade {
    pub(super) const fn new(label: &'static str, severity: Severity, text: &'static str) -> Self {
        Self { label, text, severity }
    }
}

/// Writes `Excellent: ✅ Pool sized correctly`. What is not graded has no sign.
impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.label == NOT_GRADED {
            return write!(f, "{}: {}", self.label, self.text);
        }
        write!(f, "{}: {} {}", self.label, self.severity.mark(), self.text)
    }
}

/// The grades of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Grades {
    /// The grade of [`Statistics::hit_rate`].
    pub hit_rate: Grade,
    /// The grade of [`Statistics::utilization`] at the moment of the snapshot.
    pub utilization: Grade,
    /// The grade of [`Statistics::fallback_rate`].
    pub fallback_rate: Grade,
}

/// The label of a figure that says nothing of its pool.
const NOT_GRADED: &str = "Not graded";

impl Grades {
    /// Grades a snapshot. A figure is not graded where it says nothing: if the pool counts nothing, is switched
    /// off, or sizes its own heaps and is therefore always nearly full.
    #[must_use]
    pub fn of(statistics: &Statistics) -> Self {
        let none = |text| Grade::new(NOT_GRADED, Severity::Info, text);
        let off = (statistics.pool_kind == PoolKind::Off)
            .then(|| none("the pool is off (enabled: false), so the device serves every request"));
        let uncounted =
            statistics.uncounted.then(|| none("the pool counts no requests (track_statistics: false)"));
        let own_size = (statistics.pool_kind == PoolKind::SelfSizing)
            .then(|| none("the pool sizes its own heaps, and holds little more than it uses"));
        Self {
            hit_rate: uncounted.or(off).unwrap_or_else(|| hit_rate(statistics.hit_rate)),
            utilization: off.or(own_size).unwrap_or_else(|| utilization(statistics.utilization)),
            fallback_rate: uncounted.or(off).unwrap_or_else(|| fallback_rate(statistics.fallback_rate())),
        }
    }
}

/// Grades a hit rate, 0 to 1. Above 0.95 is excellent, from 0.90 good, from 0.80 fair, below poor.
#[must_use]
pub fn hit_rate(rate: f64) -> Grade {
    const TEXT: &str = "Pool sized correctly";
    if rate > 0.95 {
        Grade::new("Excellent", Severity::Info, TEXT)
    } else if rate >= 0.90 {
        Grade::new("Good", Severity::Info, TEXT)
    } else if rate >= 0.80 {
        let text = "Pool adequate but could be optimized";
        Grade::new("Fair", Severity::Warning, text)
    } else {
        let text = "Pool too small, increase heap_size_mb or num_heaps";
        Grade::new("Poor", Severity::Error, text)
    }
}

/// Grades a utilisation, 0 to 1. Above 0.95 is critical, above 0.80 under-provisioned, from 0.50 optimal,
/// below over-provisioned.
#[must_use]
pub fn utilization(share: f64) -> Grade {
    if share > 0.95 {
        let text = "Pool near exhaustion, increase capacity";
        Grade::new("Critical", Severity::Error, text)
    } else if share > 0.80 {
        let text = "Pool heavily utilized, consider expansion";
        Grade::new("Under-provisioned", Severity::Warning, text)
    } else if share >= 0.50 {
        Grade::new("Optimal", Severity::Info, "Pool utilization optimal")
    } else {
        let text = "Pool over-provisioned, reduce to save memory";
        Grade::new("Over-provisioned", Severity::Warning, text)
    }
}

/// Grades a fallback rate, 0 to 1. 0 is excellent, below 0.05 acceptable, up to 0.10 fair, above poor.
#[must_use]
pub fn fallback_rate(rate: f64) -> Grade {
    if rate <= 0.0 {
        let text = "No fallbacks, pool perfectly sized";
        Grade::new("Excellent", Severity::Info, text)
    } else if rate < 0.05 {
        Grade::new("Acceptable", Severity::Info, "Rare fallbacks, acceptable")
    } else if rate <= 0.10 {
        let text = "Some fallbacks, consider increasing capacity";
        Grade::new("Fair", Severity::Warning, text)
    } else {
        Grade::new("Poor", Severity::Error, "Frequent fallbacks, pool too small")
    }
}

//! How often each stage of the slow path was tried, and how often it served. This module must never choose a
//! stage.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::stats;

/// A stage of the slow path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Retired,
    Caches,
    EmptyHeaps,
    Compaction,
    Growth,
    Fallback,
    Wait,
    Callbacks,
}

/// How often each stage was tried, and how often it served.
#[derive(Debug, Default)]
pub(crate) struct StageCounters([[AtomicU64; 2]; 8]);

impl StageCounters {
    /// Notes that a stage was tried.
    pub(crate) fn tried(&self, step: Step) {
        self.0[step as usize][0].fetch_add(1, Relaxed);
    }

    /// Notes that a stage that was tried has served, if it has.
    pub(crate) fn served<T>(&self, step: Step, found: Option<T>) -> Option<T> {
        if found.is_some() {
            self.0[step as usize][1].fetch_add(1, Relaxed);
        }
        found
    }

    pub(crate) fn reset(&self) {
        self.0.iter().flatten().for_each(|counter| counter.store(0, Relaxed));
    }

    pub(crate) fn snapshot(&self) -> stats::SlowPath {
        let step = |step: Step| {
            let [tried, served] = &self.0[step as usize];
            let tried = tried.load(Relaxed);
            // A stage that was tried before a reset, or after the first reading, may have served since.
            stats::Stage { tried, served: served.load(Relaxed).min(tried) }
        };
        stats::SlowPath {
            retired: step(Step::Retired),
            caches: step(Step::Caches),
            purgeable: step(Step::EmptyHeaps),
            compaction: step(Step::Compaction),
            growth: step(Step::Growth),
            fallback: step(Step::Fallback),
            wait: step(Step::Wait),
            callbacks: step(Step::Callbacks),
        }
    }
}

//! How often each stage of the slow path was tried, and how often it served. This module must never choose a
//! stage.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::stats;

/// A stage of the slow path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    Retired,
    Caches,
    Purgeable,
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
    pub(crate) fn tried(&self, stage: Stage) {
        self.0[stage as usize][0].fetch_add(1, Relaxed);
    }

    /// Notes that a stage that was tried has served, if it has.
    pub(crate) fn served<T>(&self, stage: Stage, found: Option<T>) -> Option<T> {
        if found.is_some() {
            self.0[stage as usize][1].fetch_add(1, Relaxed);
        }
        found
    }

    pub(crate) fn reset(&self) {
        self.0.iter().flatten().for_each(|counter| counter.store(0, Relaxed));
    }

    pub(crate) fn snapshot(&self) -> stats::SlowPath {
        let stage = |stage: Stage| {
            let [tried, served] = &self.0[stage as usize];
            let tried = tried.load(Relaxed);
            // A stage that was tried before a reset, or after the first reading, may have served since.
            stats::Stage { tried, served: served.load(Relaxed).min(tried) }
        };
        stats::SlowPath {
            retired: stage(Stage::Retired),
            caches: stage(Stage::Caches),
            purgeable: stage(Stage::Purgeable),
            compaction: stage(Stage::Compaction),
            growth: stage(Stage::Growth),
            fallback: stage(Stage::Fallback),
            wait: stage(Stage::Wait),
            callbacks: stage(Stage::Callbacks),
        }
    }
}

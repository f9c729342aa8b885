//! How much memory elastic heaps may hold beyond what is live before pages are moved from holes
//! to where they are needed.
//!
//! Moving pages spares memory and costs device calls. A pool that moves now and then should go on
//! doing so; one that moves all the time is better off with a little more memory. So each move
//! raises what may be held, up to a small share of the most that was ever needed, and the moves
//! die out. Giving memory back starts afresh.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One part in this many of live memory may lie in holes from the start.
const SHARE: u64 = 128;
/// One part in this many of what has been moved may be added to that,
const PRICE: u64 = 16;
/// up to one part in this many of the most that was live.
const MOST: u64 = 16;

/// See the module's essay. In granules; written by the thread that climbs the ladder alone.
#[derive(Debug, Default)]
pub(crate) struct Headroom {
    /// The most that was live.
    peak: AtomicU64,
    moved: AtomicU64,
}

impl Headroom {
    /// The most that may be committed with `live` granules handed out.
    pub(crate) fn allows(&self, live: u64) -> u64 {
        let peak = self.peak.load(Relaxed).max(live);
        self.peak.store(peak, Relaxed);
        peak + peak / SHARE + (self.moved.load(Relaxed) / PRICE).min(peak / MOST)
    }

    /// Notes pages taken out of holes to be committed elsewhere.
    pub(crate) fn moved(&self, granules: u64) {
        self.moved.store(self.moved.load(Relaxed) + granules, Relaxed);
    }

    /// Memory was given back because nobody needed it.
    pub(crate) fn reset(&self) {
        self.peak.store(0, Relaxed);
        self.moved.store(0, Relaxed);
    }
}

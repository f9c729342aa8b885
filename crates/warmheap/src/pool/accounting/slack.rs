//! How much memory elastic heaps may hold beyond what is live before pages are moved from holes
//! to where they are needed.
//!
//! Moving pages spares memory and costs device calls. A pool that moves now and then should go on
//! doing so; one that moves all the time is better off with a little more memory. So each move
//! raises what may be held, up to a small share of the most that was ever needed, and the moves
//! die out. Giving memory back starts afresh.
//!
//! Pages that are used in part cannot be moved at all, and the larger the page, the more lies in them.
//! So a few pages are allowed besides, in proportion where little is live: without them, whatever else is
//! free is moved about, and the holes it is taken from are missing a moment later.
//!
//! Where threads have heaps of their own, a page is moved out of another thread's, as often as not,
//! which stops that thread for a moment. So moves die out sooner then, for more memory.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// One part in this many of live memory may lie in holes from the start.
const SHARE: u64 = 128;
/// And this many pages,
const PAGES: u64 = 8;
/// as far as they are no more than one part in this many of live memory.
const MOST_IN_PAGES: u64 = 16;
/// How fast that may become more, and how far.
struct Raise {
    /// By one part in this many of what has been moved,
    price: u64,
    /// up to one part in this many of the most that was live.
    most: u64,
}

const ALONE: Raise = Raise { price: 16, most: 16 };
const IN_COMPANY: Raise = Raise { price: 4, most: 4 };

/// See the module's essay. In granules; written by the thread that climbs the ladder alone.
#[derive(Debug, Default)]
pub(crate) struct RetainedSlack {
    /// The most that was live.
    peak: AtomicU64,
    moved: AtomicU64,
}

impl RetainedSlack {
    /// The most that may be committed with `live` granules handed out and pages of `page` granules,
    /// where several threads have heaps of their own or not.
    pub(crate) fn allows(&self, live: u64, page: u32, company: bool) -> u64 {
        let Raise { price, most } = if company { IN_COMPANY } else { ALONE };
        let peak = self.peak.load(Relaxed).max(live);
        self.peak.store(peak, Relaxed);
        let pages = (PAGES * u64::from(page)).min(peak / MOST_IN_PAGES);
        let from_start = peak / SHARE + pages;
        peak + from_start + (self.moved.load(Relaxed) / price).min(peak / most)
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

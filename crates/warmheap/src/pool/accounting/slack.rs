//! The slack budget: how much memory growing heaps may retain beyond what is live before pages migrate to
//! where they are needed. This module owns the budget. It must never move a page itself.
//!
//! Page migration saves memory and costs device calls. A pool that migrates now and then should go on doing
//! so. A pool that migrates all the time is better off with a little more memory. Each migration therefore
//! raises what may be retained, up to a small share of the most that was ever live, and the migrations die
//! out. Giving memory back starts afresh.
//!
//! Partly used pages cannot migrate at all, and the larger the page, the more free memory lies in them. The
//! budget therefore allows a few pages besides, in proportion where little is live. Without them the pool
//! would move whatever else is free, and miss it a moment later in the free blocks that it came from.
//!
//! Where threads have heaps of their own, a page comes out of another thread's heap as often as not, which
//! stops that thread for a moment. The migrations then die out sooner, for more memory.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// One part in this many of live memory may lie in free blocks from the start.
const SHARE: u64 = 128;
/// This many pages may lie in free blocks besides.
const PAGES: u64 = 8;
/// Those pages are no more than one part in this many of live memory.
const MOST_IN_PAGES: u64 = 16;
/// How fast migrations raise the budget, and how far.
struct Raise {
    /// Each migration adds one part in this many of what it moved.
    price: u64,
    /// Migrations add at most one part in this many of the most that was live.
    most: u64,
}

const ALONE: Raise = Raise { price: 16, most: 16 };
const IN_COMPANY: Raise = Raise { price: 4, most: 4 };

/// See the module's documentation. In granules. Only the thread that holds the growth lock writes it.
#[derive(Debug, Default)]
pub(crate) struct RetainedSlack {
    /// The most that was live.
    peak: AtomicU64,
    moved: AtomicU64,
}

impl RetainedSlack {
    /// The most that may be committed with `live` granules handed out and pages of `page` granules. `company`
    /// says whether several threads have heaps of their own.
    pub(crate) fn allows(&self, live: u64, page: u32, company: bool) -> u64 {
        let Raise { price, most } = if company { IN_COMPANY } else { ALONE };
        let peak = self.peak.load(Relaxed).max(live);
        self.peak.store(peak, Relaxed);
        let pages = (PAGES * u64::from(page)).min(peak / MOST_IN_PAGES);
        let from_start = peak / SHARE + pages;
        peak + from_start + (self.moved.load(Relaxed) / price).min(peak / most)
    }

    /// Notes pages taken out of free blocks to be committed elsewhere.
    pub(crate) fn moved(&self, granules: u64) {
        self.moved.store(self.moved.load(Relaxed) + granules, Relaxed);
    }

    /// Starts afresh, because memory that nothing needed was given back.
    pub(crate) fn reset(&self) {
        self.peak.store(0, Relaxed);
        self.moved.store(0, Relaxed);
    }
}

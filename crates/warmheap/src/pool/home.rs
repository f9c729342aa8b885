//! Heaps of a thread's own, on devices whose heaps grow in place: there, pages that are free in one
//! heap can be taken out and put into another, so a heap more costs addresses, not memory.
//!
//! A thread works on its heaps without locked instructions. It is given them when memory is first
//! cut for it, and leaves them when it ends, for the next thread to find.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::sync::Arc;

use super::heap::{OwnHeap, Slot};
use super::heaps::{Heaps, Want};
use super::local;
use super::range::{EXACT, Range, Start};
use super::request::{Request, Tag};
use super::shared::Shared;
use super::site::Site;
use super::start::has_homes;
use crate::config::Scrub;

/// Where a thread's own heaps are: one for ranges of a class, one for all others. Apart, small buffers
/// that stay do not end up in the holes that large ones come back to.
///
/// Knowing the places gives no right to them: that is [`Pair`]'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) large: u16,
    pub(crate) small: u16,
}

impl Home {
    #[inline(always)]
    pub(crate) fn owns(self, heap: u16) -> bool {
        heap == self.large || heap == self.small
    }

    #[inline(always)]
    pub(crate) fn for_class(self, class: u16) -> u16 {
        if class == EXACT { self.large } else { self.small }
    }
}

/// The right to a thread's own heaps.
#[derive(Debug)]
pub(crate) struct Pair {
    large: OwnHeap,
    small: OwnHeap,
}

impl Pair {
    /// Both are adopted and left together, the first one first and last.
    fn adopt(large: &Slot, small: &Slot) -> Option<Self> {
        let first = large.adopt()?;
        match small.adopt() {
            Some(small) => Some(Self { large: first, small }),
            None => {
                large.leave(first);
                None
            }
        }
    }

    #[inline(always)]
    pub(crate) fn for_class(&mut self, class: u16) -> &mut OwnHeap {
        if class == EXACT { &mut self.large } else { &mut self.small }
    }

    /// Leaves both for other threads to adopt.
    pub(crate) fn leave(self, heaps: &Heaps) {
        for own in [self.small, self.large] {
            heaps.slot(own.index()).leave(own);
        }
    }
}

/// What a thread has of the pool's heaps.
#[derive(Debug)]
pub(crate) enum OwnHeaps {
    /// Nothing was cut for it yet. A thread that only frees never needs heaps of its own, and
    /// must not keep a thread that ends and is replaced from finding its predecessor's.
    Undecided,
    /// Heaps of its own.
    Pair(Pair),
    /// It uses those that all share; or it is past its end, or the pool's.
    Shared,
}

impl OwnHeaps {
    #[inline]
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided)
    }

    #[inline]
    pub(crate) fn places(&self) -> Option<Home> {
        match self {
            Self::Pair(Pair { large, small }) => Some(Home { large: large.index(), small: small.index() }),
            Self::Undecided | Self::Shared => None,
        }
    }

    /// The own heap for ranges of no class.
    #[inline(always)]
    pub(crate) fn large(&mut self) -> Option<&mut OwnHeap> {
        match self {
            Self::Pair(pair) => Some(&mut pair.large),
            Self::Undecided | Self::Shared => None,
        }
    }

    /// The own heap at this place.
    #[inline]
    pub(crate) fn at(&mut self, heap: u16) -> Option<&mut OwnHeap> {
        match self {
            Self::Pair(Pair { large: own, .. } | Pair { small: own, .. }) if own.index() == heap => Some(own),
            _ => None,
        }
    }

    /// Ends them: from now on the thread has none.
    pub(crate) fn leave(&mut self, heaps: &Heaps) {
        if let Self::Pair(pair) = std::mem::replace(self, Self::Shared) {
            pair.leave(heaps);
        }
    }
}

impl Shared {
    /// Cuts a plain request that is too large for a class from this thread's own heap. A thread that
    /// has none takes it from one that all share, if nobody is at that now.
    #[inline(always)]
    pub(crate) fn cut_at_once(&self, request: &Request, site: Site) -> Option<Range> {
        let large = request.size.wrapping_sub(1) >= self.largest_class && self.is_plain(request);
        if !large {
            return None;
        }
        let len = self.granules(request.size)?;
        let mut heap = 0;
        match self.cut_large(request.size, len, request.tag, site, &mut heap) {
            Some(start) => Some(Range::new(start, len, EXACT, heap)),
            None => self.cut_shared(request.size, len, request.tag, site),
        }
    }

    /// Answers in registers, and the heap's place alone in memory: a whole range would be stored in
    /// parts here, and loaded at once in pieces of two by whoever keeps it.
    #[inline(never)]
    fn cut_large(&self, size: u64, len: u32, tag: Tag, site: Site, place: &mut u16) -> Option<Start> {
        let cut = local::enter(self, |mut session| {
            let own = session.own.heaps.large()?;
            *place = own.index();
            let start = self.heaps.at_home(own, |open| open.begin(len))?;
            if self.config.track_statistics {
                session.local.counters.allocated(size, &self.peak);
            }
            Some(start)
        });
        let start = cut.flatten()?;
        start.tenant().moves_in(size, tag, site);
        Some(start)
    }

    /// As [`Shared::cut_large`], for threads that use the heaps that all share.
    #[inline(never)]
    fn cut_shared(&self, size: u64, len: u32, tag: Tag, site: Site) -> Option<Range> {
        // The long way sees to heaps that are added ahead.
        if self.grows_ahead {
            return None;
        }
        local::enter(self, |session| {
            if !matches!(session.own.heaps, OwnHeaps::Shared) {
                return None;
            }
            let range = self.heaps.allocate_at_once(Want { class: EXACT, len, align: 1 })?;
            if self.config.track_statistics {
                session.local.counters.allocated(size, &self.peak);
            }
            range.tenant().moves_in(size, tag, site);
            Some(range)
        })?
    }

    /// Where this thread's own heaps are, if it has any.
    pub(crate) fn home(&self) -> Option<Home> {
        self.session(|session| session.own.heaps.places())
    }

    /// Whether this heap is the own one of a thread other than that at home in `home`.
    pub(crate) fn is_others(&self, heap: u16, home: Option<Home>) -> bool {
        self.heaps.slot(heap).is_home() && !home.is_some_and(|home| home.owns(heap))
    }

    /// Whether ranges of a class lie in this heap: in one of two, if threads have heaps of their own.
    pub(crate) fn is_for_class(&self, heap: u16, class: u16) -> bool {
        let pair = heap & !1;
        let homes = has_homes(&self.config) && self.is_elastic();
        !homes || Home { large: pair, small: pair + 1 }.for_class(class) == heap
    }

    /// Takes back a range that belongs to no class, and to no quota: at once if it is of this thread's own
    /// heap and need not be cleared.
    #[inline]
    fn join(&self, range: &Range, size: u64) -> bool {
        let joined = local::enter(self, |mut session| {
            let own = session.own.heaps.large()?;
            if range.heap() != own.index() || self.config.scrub != Scrub::Never {
                return None;
            }
            let block = range.tenant().block();
            self.heaps.at_home(own, |open| open.join(block));
            if self.config.track_statistics {
                session.local.counters.freed(size, &self.peak);
            }
            Some(())
        });
        joined.flatten().is_some()
    }

    /// Takes back a range; see [`Shared::reclaim`].
    #[inline]
    pub(crate) fn take_back(&self, range: Range, size: u64) -> Option<Arc<Self>> {
        if range.class() == EXACT && self.join(&range, size) { None } else { self.reclaim(range, size) }
    }

    /// Decides whether the calling thread has heaps for itself, if that is still open; `true` if it
    /// was, and there is a place to look into.
    pub(crate) fn move_in(&self) -> bool {
        let undecided = self.session(|session| Some(session.own.heaps.is_undecided())) == Some(true);
        if !undecided {
            return false;
        }
        let Some(found) = self.find_home() else { return false };
        self.settle_in(found);
        true
    }

    /// Notes what was found for this thread, unless it or the pool has ended meanwhile.
    fn settle_in(&self, mut found: OwnHeaps) {
        local::share(self, |local| {
            let mut own = local.own.take();
            if own.heaps.is_undecided() {
                std::mem::swap(&mut own.heaps, &mut found);
            }
        });
        found.leave(&self.heaps);
    }

    /// What the calling thread is to have of the heaps; `None` if that cannot be decided from within a
    /// call of the device.
    ///
    /// It has some for itself on devices whose heaps grow in place: there, memory that is free in one
    /// heap can be taken out and put into another, so heaps of one's own cost no memory. Elsewhere, and
    /// where there is no place, it uses all.
    fn find_home(&self) -> Option<OwnHeaps> {
        if !has_homes(&self.config) || !self.is_elastic() {
            return Some(OwnHeaps::Shared);
        }
        let _climbing = self.growth.lock()?;
        // The home with most memory in it: that need not be moved.
        let committed =
            |pair: &[Slot]| -> u64 { pair.iter().map(|slot| u64::from(slot.levels().committed)).sum() };
        let vacant = (0..).zip(self.heaps.slots().chunks_exact(2)).filter(|(_, pair)| !pair[0].is_home());
        let fullest = vacant.max_by_key(|(place, pair)| (committed(pair), Reverse(*place)));
        let adopted = fullest.and_then(|(_, pair)| Pair::adopt(&pair[0], &pair[1]));
        let made = || {
            let large = self.reserve_pair().ok()??;
            Pair::adopt(self.heaps.slot(large), self.heaps.slot(large + 1))
        };
        Some(adopted.or_else(made).map_or(OwnHeaps::Shared, OwnHeaps::Pair))
    }
}

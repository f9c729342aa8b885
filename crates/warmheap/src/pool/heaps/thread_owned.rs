//! What a thread has of the pool's heaps: the right to a pair of its own, or none.
#![forbid(unsafe_code)]

use crate::pool::heaps::slot::{HeapSlot, OwnHeap};
use crate::pool::heaps::span::EXACT;
use crate::pool::heaps::table::HeapTable;

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
    pub(crate) fn adopt(large: &HeapSlot, small: &HeapSlot) -> Option<Self> {
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
    pub(crate) fn leave(self, heaps: &HeapTable) {
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
    pub(crate) fn leave(&mut self, heaps: &HeapTable) {
        if let Self::Pair(pair) = std::mem::replace(self, Self::Shared) {
            pair.leave(heaps);
        }
    }
}

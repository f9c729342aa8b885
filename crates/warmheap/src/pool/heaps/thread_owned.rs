//! The heaps that one thread owns: the right to a pair of them, or none. A heap must never belong to two
//! threads.
#![forbid(unsafe_code)]

use crate::pool::heaps::arena::{Arena, OwnHeap};
use crate::pool::heaps::span::EXACT;
use crate::pool::heaps::table::HeapTable;

/// The arenas of a thread's own heaps: one heap for spans of a size class, one for all others. The two are
/// apart so that small buffers that stay do not end up in the free blocks that large ones come back to.
///
/// Knowing the arenas gives no right to them. [`Pair`] is that right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnArenas {
    pub(crate) large: u16,
    pub(crate) small: u16,
}

impl OwnArenas {
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
    /// Adopts both heaps or neither. The large heap is adopted first and left last.
    pub(crate) fn adopt(large: &Arena, small: &Arena) -> Option<Self> {
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
            heaps.arena(own.index()).leave(own);
        }
    }
}

/// What a thread has of the pool's heaps.
#[derive(Debug)]
pub(crate) enum OwnHeaps {
    /// The thread has not allocated yet. A thread that only frees never needs heaps of its own, and must not
    /// occupy heaps that a replacement thread should inherit.
    Undecided,
    /// The thread has heaps of its own.
    Pair(Pair),
    /// The thread cuts from this arena first, which it may share with others.
    Resident(u16),
    /// The thread uses the heaps that all threads share, or the thread or the pool has ended.
    Shared,
}

impl OwnHeaps {
    #[inline]
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self, Self::Undecided)
    }

    #[inline]
    pub(crate) fn places(&self) -> Option<OwnArenas> {
        match self {
            Self::Pair(Pair { large, small }) => {
                Some(OwnArenas { large: large.index(), small: small.index() })
            }
            Self::Undecided | Self::Resident(_) | Self::Shared => None,
        }
    }

    /// The thread's own heap for spans of no size class.
    #[inline(always)]
    pub(crate) fn large(&mut self) -> Option<&mut OwnHeap> {
        match self {
            Self::Pair(pair) => Some(&mut pair.large),
            Self::Undecided | Self::Resident(_) | Self::Shared => None,
        }
    }

    /// The thread's own heap in this arena.
    #[inline]
    pub(crate) fn at(&mut self, heap: u16) -> Option<&mut OwnHeap> {
        match self {
            Self::Pair(Pair { large: own, .. } | Pair { small: own, .. }) if own.index() == heap => Some(own),
            _ => None,
        }
    }

    /// The arena that the thread cuts from first, if it owns none.
    #[inline]
    pub(crate) fn residence(&self) -> Option<u16> {
        if let Self::Resident(arena) = self { Some(*arena) } else { None }
    }

    /// Leaves the heaps. The thread has none from now on.
    pub(crate) fn leave(&mut self, heaps: &HeapTable) {
        match std::mem::replace(self, Self::Shared) {
            Self::Pair(pair) => pair.leave(heaps),
            Self::Resident(arena) => heaps.arena(arena).move_out(),
            Self::Undecided | Self::Shared => {}
        }
    }
}

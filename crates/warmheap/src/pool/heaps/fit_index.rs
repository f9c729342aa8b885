//! An index of which arenas have free blocks of about which length. Threads choose an arena with it without
//! taking any.
//!
//! The index has a word for each octave, which is a doubling of lengths. Each arena has one bit, in the word
//! of the octave that its longest free block is in. A thread thus finds the arenas whose free blocks are just
//! long enough without looking at every arena. The bits are hints, as old as the last visit to an arena, and
//! must never be taken for a promise. An arena on its way from one octave to another is in both.
#![forbid(unsafe_code)]

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The most arenas that a pool can have: one for each bit of a word.
pub(crate) const MAX_ARENAS: usize = u64::BITS as usize;

const OCTAVES: usize = u32::BITS as usize + 1;

/// See the module's documentation. Lengths are granules. The index has cache lines of its own, as all threads
/// read it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct FitIndex([AtomicU64; OCTAVES]);

impl Default for FitIndex {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; OCTAVES])
    }
}

impl FitIndex {
    /// Notes how the longest free block of an arena has changed. Only one thread at a time may call it for an
    /// arena.
    #[inline]
    pub(crate) fn note(&self, arena: u16, was: u32, now: u32) {
        let (was, now) = (octave(was), octave(now));
        if was != now {
            self.0[now].fetch_or(1 << arena, Relaxed);
            self.0[was].fetch_and(!(1 << arena), Relaxed);
        }
    }

    /// The arenas that may have a free block of `len` granules, as a bit for each. Yields one octave at a
    /// time, the tightest first.
    #[inline]
    pub(crate) fn from(&self, len: u32) -> impl Iterator<Item = u64> {
        self.0[octave(len)..].iter().map(|arenas| arenas.load(Relaxed))
    }
}

#[inline(always)]
fn octave(len: u32) -> usize {
    (u32::BITS - len.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_is_found_at_its_holes_octave_and_nowhere_else() {
        let holes = FitIndex::default();
        let found = |len| holes.from(len).position(|arenas| arenas & 1 << 63 != 0);
        let mut was = 0;
        for now in [1, 3, 1 << 20, u32::MAX, 5, 0] {
            holes.note(63, was, now);
            was = now;
            for len in [1, 2, 4, 5, 7, 8, 1 << 19, 1 << 20, u32::MAX] {
                let octaves_up = now.checked_ilog2().and_then(|now| now.checked_sub(len.ilog2()));
                assert_eq!(found(len), octaves_up.map(|up| up as usize), "{len} of {now}");
            }
        }
    }
}

//! Free blocks by size, found with two bit scans.
//!
//! Sizes are in granules. Up to 64 every size has a bin of its own; above that each doubling is cut
//! into 32 bins, so a bin's sizes differ by at most 3.1 %. A bitmap of non-empty bins and a bitmap
//! of non-empty words over it make "the smallest bin at or above this one" two `trailing_zeros`.
//!
//! The bins hold only the heads of lists; the links live in the blocks, which the table of blocks owns.

use super::NONE;

const SUB_BITS: u32 = 5;
const SUB: u32 = 1 << SUB_BITS;
const WORDS: usize = (32 - SUB_BITS as usize) + 1;
const BINS: usize = WORDS * SUB as usize;

/// The bin whose range of sizes holds `len`; `len` is at least 1.
#[inline(always)]
pub(crate) fn bin_of(len: u32) -> usize {
    let top = 31 - (len | 1).leading_zeros();
    let shift = top.saturating_sub(SUB_BITS);
    (shift * SUB + (len >> shift)) as usize
}

/// The largest size that belongs in `bin`.
#[inline]
pub(crate) fn bin_end(bin: usize) -> u32 {
    let shift = (bin as u32 / SUB).saturating_sub(1);
    let first = u64::from(bin as u32 - shift * SUB) << shift;
    (first + (1 << shift) - 1) as u32
}

/// Heads of the free lists and the bitmaps over them.
#[derive(Debug, Clone)]
pub(crate) struct Bins {
    summary: u32,
    words: [u32; WORDS],
    heads: Box<[u32; BINS]>,
}

impl Bins {
    pub(crate) fn new() -> Self {
        Self { summary: 0, words: [0; WORDS], heads: Box::new([NONE; BINS]) }
    }

    #[inline]
    pub(crate) fn head(&self, bin: usize) -> u32 {
        self.heads[bin]
    }

    /// Makes `block` the head of a bin; returns the head before it.
    #[inline(always)]
    pub(crate) fn push(&mut self, bin: usize, block: u32) -> u32 {
        let before = std::mem::replace(&mut self.heads[bin], block);
        // Stored in any case: a store costs less than an unpredictable branch.
        let (word, bit) = (bin / SUB as usize, bin % SUB as usize);
        self.words[word] |= 1 << bit;
        self.summary |= 1 << word;
        before
    }

    /// Makes the second block of a bin, or nothing, its head.
    #[inline(always)]
    pub(crate) fn pop(&mut self, bin: usize, second: u32) {
        self.heads[bin] = second;
        let (word, bit) = (bin / SUB as usize, bin % SUB as usize);
        self.words[word] &= !(u32::from(second == NONE) << bit);
        self.summary &= !(u32::from(self.words[word] == 0) << word);
    }

    /// The first non-empty bin at or above `bin`.
    #[inline]
    pub(crate) fn at_or_above(&self, bin: usize) -> Option<usize> {
        let word = bin / SUB as usize;
        let in_word = self.words.get(word)? & (!0u32 << (bin % SUB as usize));
        if in_word != 0 {
            return Some(word * SUB as usize + in_word.trailing_zeros() as usize);
        }
        // A shift by 32 or more would be an overflow, and words end well before bit 31.
        let above = self.summary & (!1u32 << word);
        if above == 0 {
            return None;
        }
        let word = above.trailing_zeros() as usize;
        Some(word * SUB as usize + self.words[word].trailing_zeros() as usize)
    }

    /// The last non-empty bin before `bin`.
    pub(crate) fn below(&self, bin: usize) -> Option<usize> {
        (0..bin).rev().find(|&bin| self.heads[bin] != NONE)
    }

    /// The last non-empty bin.
    pub(crate) fn last(&self) -> Option<usize> {
        let word = self.summary.checked_ilog2()? as usize;
        let bit = self.words[word].checked_ilog2()? as usize;
        Some(word * SUB as usize + bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_ordered_and_at_most_a_32nd_wide() {
        let mut last = bin_of(1);
        for len in 2..100_000u32 {
            let bin = bin_of(len);
            assert!(bin == last || bin == last + 1, "{len}");
            assert!(bin_end(bin) >= len && bin_of(bin_end(bin)) == bin, "{len}");
            last = bin;
        }
        assert!(bin_of(u32::MAX) < BINS);
        for len in 1..64 {
            assert_eq!(bin_of(len), len as usize);
        }
    }

    #[test]
    fn the_next_bin_is_found_across_words() {
        let mut bins = Bins::new();
        assert_eq!(bins.at_or_above(0), None);
        assert_eq!(bins.push(3, 7), NONE);
        bins.push(BINS - 1, 8);
        assert_eq!(bins.at_or_above(0), Some(3));
        assert_eq!(bins.at_or_above(4), Some(BINS - 1));
        assert_eq!(bins.last(), Some(BINS - 1));
        bins.pop(BINS - 1, NONE);
        assert_eq!(bins.at_or_above(4), None);
        assert_eq!(bins.last(), Some(3));
    }
}

//! Size classes: which requests may share cached spans.
//!
//! A small request is rounded up to a class, so that a span freed by one request serves the next of about its
//! size. Classes are exact up to 32 granules. Above that there are 16 classes for each doubling. Rounding
//! takes at most 6.25 % of a span, and about 3 % on average. A request above [`LARGEST`] must never be
//! rounded to a class, because a few percent are megabytes there. No cache keeps its span.
#![forbid(unsafe_code)]

const SUB_BITS: u32 = 4;

/// The largest request, in granules, that is rounded to a class.
pub(crate) const LARGEST: u32 = 1 << 12;

/// The number of classes: 16 exact ones, and 16 for each of 8 doublings.
pub(crate) const CLASSES: usize = class_of(LARGEST) as usize + 1;

/// The class that serves `len` granules; `len` is from 1 to [`LARGEST`].
#[inline(always)]
pub(crate) const fn class_of(len: u32) -> u32 {
    // Rounds up to a multiple of 2^shift, where shift leaves SUB_BITS + 1 significant bits.
    let last = len - 1;
    let shift = (31 - (last | (1 << SUB_BITS)).leading_zeros()) - SUB_BITS;
    (shift << SUB_BITS) + (last >> shift)
}

/// The granules that every span of `class` has.
#[inline]
pub(crate) const fn len_of(class: u32) -> u32 {
    let shift = (class >> SUB_BITS).saturating_sub(1);
    (class - (shift << SUB_BITS) + 1) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_its_sizes_and_wastes_at_most_a_sixteenth() {
        let mut last = 0;
        for len in 1..=LARGEST {
            let class = class_of(len);
            assert!(class == last || class == last + 1, "{len}");
            last = class;
            let rounded = len_of(class);
            assert!(rounded >= len, "{len} in {class}");
            assert!(rounded - len <= len / 16, "{len} rounds to {rounded}");
            assert_eq!(class_of(rounded), class);
        }
        assert_eq!(last as usize + 1, CLASSES);
    }
}

//! The source of a program's choices: a seed, or bytes from a fuzzer.

use std::ops::{Bound, RangeBounds};

use fastrand::Rng;

/// Makes choices. The methods are those of `fastrand`.
#[derive(Debug)]
pub(crate) enum Choices {
    Seed(Rng),
    /// Takes as many bytes for each choice as its range needs. Returns the first of the range once all bytes
    /// are used.
    Bytes(std::vec::IntoIter<u8>),
}

impl Choices {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self::Seed(Rng::with_seed(seed))
    }

    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into_iter())
    }

    /// Whether no choice is left.
    pub(crate) fn are_used_up(&self) -> bool {
        matches!(self, Self::Bytes(bytes) if bytes.len() == 0)
    }

    fn at_most(&mut self, most: u64) -> u64 {
        match self {
            Self::Seed(rng) => rng.u64(..=most),
            Self::Bytes(bytes) => {
                let needed = (u64::BITS - most.leading_zeros()).div_ceil(8) as usize;
                let number = bytes.take(needed).fold(0, |number, byte| number << 8 | u64::from(byte));
                most.checked_add(1).map_or(number, |count| number % count)
            }
        }
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.at_most(1) == 1
    }

    pub(crate) fn choice<I>(&mut self, items: I) -> Option<I::Item>
    where
        I: IntoIterator<IntoIter: ExactSizeIterator>,
    {
        let mut items = items.into_iter();
        let last = items.len().checked_sub(1)?;
        items.nth(self.usize(..=last))
    }
}

macro_rules! numbers {
    ($($type:ident)+) => {
        impl Choices {
            $(pub(crate) fn $type(&mut self, range: impl RangeBounds<$type>) -> $type {
                let first = match range.start_bound() {
                    Bound::Included(first) => *first,
                    Bound::Excluded(before) => before + 1,
                    Bound::Unbounded => 0,
                };
                let last = match range.end_bound() {
                    Bound::Included(last) => *last,
                    Bound::Excluded(past) => past - 1,
                    Bound::Unbounded => $type::MAX,
                };
                first + self.at_most((last - first) as u64) as $type
            })+
        }
    };
}

numbers!(u8 u32 u64 usize);

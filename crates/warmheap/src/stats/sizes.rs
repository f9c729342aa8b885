//! How large buffers are: what warm-up sizes are chosen from.
//!
//! A histogram is made of buffers that are alive, when it is asked for. Allocating and freeing costs nothing more
//! for it.

/// Buffers by size, a bin for each doubling.
///
/// ```
/// use warmheap::stats::SizeHistogram;
/// let sizes: SizeHistogram = [1 << 20, 700 << 10, 3].into_iter().collect();
/// let bins: Vec<_> = sizes.bins().iter().map(|bin| (bin.up_to, bin.buffers, bin.bytes)).collect();
/// assert_eq!(bins, [(4, 1, 3), (1 << 20, 2, (1 << 20) + (700 << 10))]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct SizeHistogram {
    bins: Vec<SizeBin>,
}

/// The buffers between half of a size and that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SizeBin {
    /// The most bytes of a buffer in this bin, a power of two. The least are more than half of that.
    pub up_to: u64,
    /// How many buffers there are.
    pub buffers: u64,
    /// The bytes of all of them.
    pub bytes: u64,
}

impl SizeHistogram {
    /// Returns the bins that have buffers, the smallest sizes first.
    #[must_use]
    pub fn bins(&self) -> &[SizeBin] {
        &self.bins
    }
}

impl FromIterator<u64> for SizeHistogram {
    fn from_iter<I: IntoIterator<Item = u64>>(sizes: I) -> Self {
        let mut bins: Vec<SizeBin> = Vec::new();
        for size in sizes {
            let up_to = size.checked_next_power_of_two().unwrap_or(u64::MAX);
            let place = bins.binary_search_by_key(&up_to, |bin| bin.up_to).unwrap_or_else(|place| {
                bins.insert(place, SizeBin { up_to, buffers: 0, bytes: 0 });
                place
            });
            bins[place].buffers += 1;
            bins[place].bytes = bins[place].bytes.saturating_add(size);
        }
        Self { bins }
    }
}

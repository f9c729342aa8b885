//! Freed memory that could not be cleared, under `scrub: on_free`.
//!
//! Nobody may be given a range that still holds what its last holder wrote. So it stays here, used
//! as far as its heap knows, until clearing works: it is tried again whenever caches are given up.
//! Once the pool is closed the ranges go back as they are, since nobody can be given them.
#![forbid(unsafe_code)]

use super::lock;
use super::notes::Note;
use super::range::Range;
use super::shared::Shared;
use crate::sync::Mutex;

/// Ranges with the bytes that their last holders asked for.
#[derive(Debug, Default)]
pub(crate) struct Withheld(Mutex<Vec<(Range, u64)>>);

impl Withheld {
    fn take(&self) -> Vec<(Range, u64)> {
        std::mem::take(&mut *lock(&self.0))
    }
}

impl Shared {
    /// What is withheld: granules of heaps, and bytes of fallback buffers.
    pub(crate) fn withheld(&self) -> (u64, u64) {
        let (mut granules, mut bytes) = (0, 0);
        for (range, _) in &*lock(&self.withheld.0) {
            if range.is_fallback() {
                bytes += self.fallback.size(range);
            } else {
                granules += u64::from(range.len());
            }
        }
        (granules, bytes)
    }

    /// Gives a range back once it is cleared.
    pub(crate) fn clear_and_put_back(&self, range: Range, size: u64) -> bool {
        match self.clear(&range, size) {
            Ok(()) => {
                self.put_back(range);
                true
            }
            Err(error) => {
                // Nobody holds it, though its heap counts it as used.
                range.tenant().resize(0);
                lock(&self.withheld.0).push((range, size));
                self.notes.add(Note::CouldNotClear { size, error });
                false
            }
        }
    }

    /// Tries again to clear what is withheld; `true` if some of it is back.
    pub(crate) fn clear_withheld(&self) -> bool {
        let cleared = |(range, size)| u32::from(self.clear_and_put_back(range, size));
        self.withheld.take().into_iter().map(cleared).sum::<u32>() > 0
    }

    /// Gives back what is withheld as it is. The pool is closed.
    pub(crate) fn give_up_withheld(&self) {
        self.withheld.take().into_iter().for_each(|(range, _)| self.put_back(range));
    }
}

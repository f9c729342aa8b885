//! Freed memory that could not be cleared, under `scrub: on_free`.
//!
//! Nobody may be given a range that still holds what its last holder wrote. So it stays here, used
//! as far as its heap knows, until clearing works: it is tried again whenever caches are given up.
//! Once the pool is closed the ranges go back as they are, since nobody can be given them.
#![forbid(unsafe_code)]

use crate::config::Scrub;
use crate::pool::core::Core;
use crate::pool::core::notes::Note;
use crate::pool::heaps::span::Span;
use crate::sync::{Mutex, lock};

/// Ranges with the bytes that their last holders asked for.
#[derive(Debug, Default)]
pub(crate) struct Quarantine(Mutex<Vec<(Span, u64)>>);

impl Quarantine {
    fn take(&self) -> Vec<(Span, u64)> {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// As [`Core::put_back`], cleared first if the settings say so.
pub(crate) fn clean_and_put_back(core: &Core, range: Span, size: u64) {
    match core.config.scrub {
        Scrub::Never => core.put_back(range),
        Scrub::OnFree => _ = clear_and_put_back(core, range, size),
    }
}

/// What is withheld: granules of heaps, and bytes of fallback buffers.
pub(crate) fn quarantined(core: &Core) -> (u64, u64) {
    let (mut granules, mut bytes) = (0, 0);
    for (range, _) in &*lock(&core.quarantine.0) {
        if range.is_fallback() {
            bytes += core.fallback.size(range);
        } else {
            granules += u64::from(range.len());
        }
    }
    (granules, bytes)
}

/// Gives a range back once it is cleared.
pub(crate) fn clear_and_put_back(core: &Core, range: Span, size: u64) -> bool {
    match core.clear(&range, size) {
        Ok(()) => {
            core.put_back(range);
            true
        }
        Err(error) => {
            // Nobody holds it, though its heap counts it as used.
            range.record().resize(0);
            lock(&core.quarantine.0).push((range, size));
            core.notes.add(Note::CouldNotClear { size, error });
            false
        }
    }
}

/// Tries again to clear what is withheld; `true` if some of it is back.
pub(crate) fn clear_withheld(core: &Core) -> bool {
    let cleared = |(range, size)| u32::from(clear_and_put_back(core, range, size));
    core.quarantine.take().into_iter().map(cleared).sum::<u32>() > 0
}

/// Gives back what is withheld as it is. The pool is closed.
pub(crate) fn give_up_withheld(core: &Core) {
    core.quarantine.take().into_iter().for_each(|(range, _)| core.put_back(range));
}

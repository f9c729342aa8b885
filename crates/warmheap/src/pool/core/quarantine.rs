//! The quarantine: freed memory that could not be cleared, under `scrub: on_free`.
//!
//! The module owns those spans. It never lets a caller get a span that still holds what an earlier buffer
//! wrote. A quarantined span counts as used in its heap until clearing works. The pool tries again whenever
//! caches are given up. When no buffer of a closed pool is left, the spans go back as they are. Before that,
//! a buffer could grow into them.
#![forbid(unsafe_code)]

use crate::config::Scrub;
use crate::pool::core::Core;
use crate::pool::core::notes::Note;
use crate::pool::heaps::span::Span;
use crate::sync::{Mutex, lock};

/// Spans, each with the bytes that its buffer had asked for.
#[derive(Debug, Default)]
pub(crate) struct Quarantine(Mutex<Vec<(Span, u64)>>);

impl Quarantine {
    fn take(&self) -> Vec<(Span, u64)> {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// As [`Core::put_back`]. Clears the span first if the settings say so.
pub(crate) fn clean_and_put_back(core: &Core, span: Span, size: u64) {
    match core.config.scrub {
        Scrub::Never => core.put_back(span),
        Scrub::OnFree => _ = clear_and_put_back(core, span, size),
    }
}

/// What is quarantined: granules of heaps, and bytes of fallback buffers.
pub(crate) fn quarantined(core: &Core) -> (u64, u64) {
    let (mut granules, mut bytes) = (0, 0);
    for (span, _) in &*lock(&core.quarantine.0) {
        if span.is_fallback() {
            bytes += core.fallback.size(span);
        } else {
            granules += u64::from(span.len());
        }
    }
    (granules, bytes)
}

/// Gives a span back once it is cleared. Returns `false` if it went into quarantine.
pub(crate) fn clear_and_put_back(core: &Core, span: Span, size: u64) -> bool {
    match core.clear(&span, size) {
        Ok(()) => {
            core.put_back(span);
            true
        }
        Err(error) => {
            // No buffer holds the span, though its heap counts it as used.
            span.record().resize(0);
            lock(&core.quarantine.0).push((span, size));
            core.notes.add(Note::CouldNotClear { size, error });
            false
        }
    }
}

/// Tries again to clear what is quarantined. Returns `true` if some of it is back.
pub(crate) fn clear_withheld(core: &Core) -> bool {
    let cleared = |(span, size)| u32::from(clear_and_put_back(core, span, size));
    core.quarantine.take().into_iter().map(cleared).sum::<u32>() > 0
}

/// Takes what is quarantined, uncleared, if it is all that is out, as `out` counts it. The pool is closed. No
/// span comes or goes here while `out` counts.
pub(crate) fn take_if_alone(core: &Core, out: impl FnOnce() -> u64) -> Option<Vec<(Span, u64)>> {
    let mut withheld = lock(&core.quarantine.0);
    (out() == withheld.len() as u64).then(|| std::mem::take(&mut *withheld))
}

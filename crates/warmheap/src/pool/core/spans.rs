//! The memory of a span, and its way back to a heap or to the device, past all caches.
//!
//! The module owns how a span's memory is found. It never holds a heap's lock while it calls the device.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::device::{DeviceError, Memory};
use crate::pool::core::Core;
use crate::pool::heaps::span::{FALLBACK, Span};
use crate::pool::heaps::thread_owned::OwnHeaps;

impl Core {
    /// Zeroes the first `size` bytes of a span.
    pub(crate) fn clear(&self, span: &Span, size: u64) -> Result<(), DeviceError> {
        match self.memory(span) {
            Some((memory, offset)) => self.driver.fill(&*memory, offset, size),
            None => Ok(()),
        }
    }

    /// Copies the first `size` bytes of one span to another.
    pub(crate) fn copy(&self, from: &Span, to: &Span, size: u64) -> Result<(), DeviceError> {
        match (self.memory(from), self.memory(to)) {
            (Some((from, at)), Some((to, to_at))) => self.driver.copy((&*from, at), (&*to, to_at), size),
            _ => Ok(()),
        }
    }

    /// The memory that a span lies in, and its offset there in bytes.
    pub(crate) fn memory(&self, span: &Span) -> Option<(Arc<dyn Memory>, u64)> {
        let (memory, address) = if span.is_fallback() {
            self.fallback.memory(span)?
        } else {
            self.heaps.arena(span.arena()).with(|open| open.place(span.record().block()))?
        };
        Some((memory, span.address - address))
    }

    /// Gives spans back to their heaps. Those of this thread's own heaps go back without a lock.
    #[inline]
    pub(crate) fn release(&self, heaps: &mut OwnHeaps, spans: impl IntoIterator<Item = Span>) {
        if !matches!(heaps, OwnHeaps::Pair(_)) {
            return self.heaps.release(spans);
        }
        for span in spans {
            match heaps.at(span.arena()) {
                Some(own) => self.heaps.as_owner(own, |open| open.release(span)),
                None => self.heaps.release([span]),
            }
        }
    }

    /// Gives a span back to its heap or to the device, past all caches.
    pub(crate) fn put_back(&self, span: Span) {
        if span.class() == FALLBACK {
            self.note_end(self.fallback.free(&self.driver, &span));
        } else {
            self.heaps.release([span]);
        }
    }
}

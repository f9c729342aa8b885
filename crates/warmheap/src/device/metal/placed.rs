//! MTLBuffers that callers requested over ranges of a heap, kept for reuse.
//!
//! A pool hands out the same ranges again and again. An object made for a range also serves the next request
//! for exactly that range. This module owns the objects that no caller uses. It must never keep an object
//! that overlaps a newer one, and kept objects must never exhaust the object budget.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::sync::Arc;

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_metal::MTLBuffer;

use super::objects::{ObjectPermit, Objects};
use super::shared::Shared;
use crate::device::DeviceError;

/// An MTLBuffer that is exactly one range of memory. Clones share the object. If a program retains the inner
/// MTLBuffer beyond the last clone, the object budget no longer counts it.
#[derive(Debug, Clone)]
pub struct OwnBuffer(Arc<Placed>);

#[derive(Debug)]
struct Placed {
    buffer: Shared<dyn MTLBuffer>,
    /// The permit. It is `None` for a fallback buffer, whose memory holds the permit.
    _permit: Option<ObjectPermit>,
}

impl OwnBuffer {
    pub(super) fn new(buffer: Retained<ProtocolObject<dyn MTLBuffer>>, permit: Option<ObjectPermit>) -> Self {
        Self(Arc::new(Placed { buffer: Shared(buffer), _permit: permit }))
    }
}

impl Deref for OwnBuffer {
    type Target = ProtocolObject<dyn MTLBuffer>;

    fn deref(&self) -> &Self::Target {
        &self.0.buffer
    }
}

/// The objects over one heap, by the start of their ranges.
#[derive(Debug, Default)]
pub(super) struct PlacedBuffers(BTreeMap<u64, (u64, OwnBuffer)>);

impl PlacedBuffers {
    /// Returns the object over exactly `range`, if there is one. Otherwise drops the objects that overlap
    /// `range`, which earlier callers left.
    pub(super) fn reuse(&mut self, range: &Range<u64>) -> Option<OwnBuffer> {
        if let Some((end, buffer)) = self.0.get(&range.start)
            && *end == range.end
        {
            return Some(buffer.clone());
        }
        // Kept ranges do not overlap each other. So at most one that starts earlier reaches into this range.
        let first = self
            .0
            .range(..range.start)
            .next_back()
            .filter(|(_, (end, _))| *end > range.start)
            .map_or(range.start, |(start, _)| *start);
        let stale: Vec<u64> = self.0.range(first..range.end).map(|(s, _)| *s).collect();
        for start in stale {
            self.0.remove(&start);
        }
        None
    }

    /// Returns a permit for one more object. At the limit, this first drops the kept objects that no caller
    /// uses.
    pub(super) fn permit(&mut self, objects: &Arc<Objects>) -> Result<ObjectPermit, DeviceError> {
        objects.take().or_else(|_| {
            self.0.retain(|_, (_, buffer)| Arc::strong_count(&buffer.0) > 1);
            objects.take()
        })
    }

    pub(super) fn keep(
        &mut self,
        range: Range<u64>,
        buffer: Retained<ProtocolObject<dyn MTLBuffer>>,
        permit: ObjectPermit,
    ) -> OwnBuffer {
        let buffer = OwnBuffer::new(buffer, Some(permit));
        self.0.insert(range.start, (range.end, buffer.clone()));
        buffer
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

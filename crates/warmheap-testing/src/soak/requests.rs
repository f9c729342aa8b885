//! Makes requests, checks what the pool gives, and checks that a refusal has a reason.
#![forbid(unsafe_code)]

use fastrand::Rng;
use warmheap::{AllocError, Buffer, Request, Tag};

use super::figures::count;
use super::finding::Finding;
use super::parts::held::Still;
use super::parts::oracle::cleared;
use super::round::Round;

/// The contents of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) size: u64,
    pub(super) align: u64,
    zeroed: bool,
    tag: Tag,
    /// The bytes that the buffer may grow to; 0 if the request announces no growth.
    room: u64,
}

impl Asked {
    /// Returns a request, mostly for `size` bytes and nothing else. Some have another size, an alignment or
    /// other options.
    pub(super) fn about(size: u64, tags: &[Tag], rng: &mut Rng) -> Self {
        let size = if rng.u8(..32) == 0 { rng.u64(1..=size * 2) } else { size };
        let align = if rng.u8(..16) == 0 { 1 << rng.u32(..17) } else { 1 };
        let zeroed = rng.u8(..64) == 0;
        let tag = rng.choice(tags).copied().unwrap_or(Tag::NONE);
        let room = if rng.u8(..32) == 0 { size * rng.u64(1..8) } else { 0 };
        Self { size, align, zeroed, tag, room }
    }

    /// Returns a request for `size` bytes and nothing else.
    pub(super) fn bytes(size: u64) -> Self {
        Self { size, align: 1, zeroed: false, tag: Tag::NONE, room: 0 }
    }

    pub(super) fn request(&self) -> Request {
        let request = Request::new(self.size).align(self.align).tag(self.tag);
        let request = if self.zeroed { request.zeroed() } else { request };
        if self.room > 0 { request.growable(self.room) } else { request }
    }
}

impl Round {
    /// Requests a buffer. Returns `None` if a callback panicked, or if the pool refused and the device, a
    /// limit or a quota explains it.
    pub(super) fn ask<G>(
        &self,
        asked: &Asked,
        call: impl FnOnce(Request) -> Result<G, AllocError>,
    ) -> Result<Option<G>, Finding> {
        let troubles = self.faults.troubles();
        match self.unless_panicked(|| call(asked.request())) {
            None => Ok(None),
            Some(Ok(given)) => {
                count(&self.expected.allocated);
                Ok(Some(given))
            }
            Some(Err(error)) => {
                self.excuse(asked.size, troubles, error)?;
                count(&self.expected.refused);
                count(&self.figures.refused_requests);
                Ok(None)
            }
        }
    }

    /// Returns a finding if nothing explains why `size` bytes were refused. Otherwise returns the pool's
    /// error. `troubles` is the count from before the request.
    pub(super) fn excuse(&self, size: u64, troubles: u64, error: AllocError) -> Result<AllocError, Finding> {
        if self.faults.troubles() == troubles && !self.setting.excuse(&error) {
            return Err(Finding::Refused { size, error });
        }
        Ok(error)
    }

    /// Takes a new buffer that does not move, allocated through a queue or not.
    pub(super) fn receive(
        &self,
        buffer: Buffer,
        asked: &Asked,
        queue: Option<(usize, u64)>,
    ) -> Result<Still, Finding> {
        self.count_fallback(&buffer);
        let number = self.check(&buffer, asked, queue.map(|(_, number)| number))?;
        Ok(Still { buffer, number, queue })
    }

    /// Checks a new buffer, allocated through a queue or not, and returns its number.
    pub(super) fn check(&self, buffer: &Buffer, asked: &Asked, queue: Option<u64>) -> Result<u64, Finding> {
        let Asked { size, align, zeroed, tag, .. } = *asked;
        let (found, address) = (buffer.size(), buffer.device_address());
        if found != size || !address.is_multiple_of(align) || buffer.tag() != tag {
            return Err(Finding::Misfit { size, align, found, address });
        }
        if zeroed || self.setting.scrubs() {
            cleared(buffer, 0)?;
        }
        self.oracle.allocated(buffer, queue)
    }

    pub(super) fn count_fallback(&self, buffer: &Buffer) {
        if buffer.is_fallback() {
            count(&self.expected.fallbacks);
            count(&self.figures.fallbacks);
        }
    }
}

//! Buffers that grow: in place where there is room behind them, else by a move.
//!
//! A buffer made to grow lies in whole pages of its own, with addresses kept behind it; it grows by
//! committing the next of them, which nobody else can be given. Addresses are kept only where heaps
//! grow in place: there they cost nothing. Elsewhere such a buffer gets a little more than it asks,
//! so that it need not move each time. Any buffer grows into free memory that lies behind it.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::account::UpTo;
use super::boxed::Boxed;
use super::buffer::Buffer;
use super::error::AllocError;
use super::heaps::Want;
use super::local::Local;
use super::quotas::Charge;
use super::range::{GROWING, Range};
use super::request::{Request, Tag};
use super::shared::Shared;
use super::site::Site;
use crate::config::HeapSizing;
use crate::device::{DeviceError, Memory};
use crate::offsets::PageRun;

/// Room for a buffer that had to be moved to grow: so many times its size, or this part of the
/// addresses that a heap has, whichever is more.
const ROOM: u64 = 16;
const SHARE: u64 = 64;
/// Where addresses are memory, a buffer that will grow gets one part in this many more than it asks.
const SPARE: u64 = 8;

impl Buffer {
    /// Makes the buffer `size` bytes long where it is: its address stays, and so do its contents.
    /// What is new is uninitialised. A size that it has already changes nothing.
    ///
    /// Works within the rounding of the buffer's own range, into free memory behind it, and where
    /// the device can map more memory behind it; the latter surely up to what
    /// [`Request::growable`] asked room for, as long as the device has memory.
    ///
    /// # Errors
    /// [`AllocError::CannotGrow`] if there is no room, see [`Buffer::grow_or_move`];
    /// [`AllocError::QuotaExceeded`] if the tag's quota does not allow it. The buffer is as it was.
    pub fn grow(&mut self, size: u64) -> Result<(), AllocError> {
        self.here()?;
        if size <= self.size() {
            return Ok(());
        }
        let grown = self.grow_in_place(size);
        self.pool().speak();
        grown
    }

    fn grow_in_place(&mut self, size: u64) -> Result<(), AllocError> {
        let old = self.size();
        let tag = self.tag();
        let (pool, range) = self.parts();
        let charge = if range.is_metered() { pool.quotas.charge(tag, size, old)? } else { None };
        if charge.is_none() {
            // The quota was lifted meanwhile.
            range.unmeter();
        }
        let grown = pool.extend(range, size);
        if !matches!(grown, Ok(true)) {
            let device = grown.err().map(Boxed::new);
            return Err(AllocError::CannotGrow { size: old, requested: size, device });
        }
        charge.into_iter().for_each(Charge::settle);
        pool.count_growth(range, old, size);
        self.set_size(size);
        Ok(())
    }

    /// As [`Buffer::grow`]; where that is not possible, the contents are copied to a new range, as
    /// `request` says, and the buffer is there from now on. Its alignment is that of the request,
    /// its tag too unless the request has none. A request without room to grow gets some, so that
    /// a buffer that grows for long moves seldom.
    ///
    /// Answers the buffer that was left behind, if it was: to be dropped, or retired if work in
    /// flight still reads it. Work that writes to it must have completed before the call. A move
    /// counts as an allocation, and as a free once the old buffer is gone.
    ///
    /// # Errors
    /// As [`Pool::allocate`](super::Pool::allocate), and [`AllocError::Device`] if the device cannot
    /// copy; the buffer is as it was then.
    #[track_caller]
    pub fn grow_or_move(&mut self, request: impl Into<Request>) -> Result<Option<Self>, AllocError> {
        self.grow_or_move_at(request, Site::caller())
    }

    /// As [`Buffer::grow_or_move`], with the place to keep for leak reports of a buffer that moves.
    ///
    /// # Errors
    /// As [`Buffer::grow_or_move`].
    pub fn grow_or_move_at(
        &mut self,
        request: impl Into<Request>,
        site: impl Into<Site>,
    ) -> Result<Option<Self>, AllocError> {
        let mut request = request.into();
        match self.grow(request.size) {
            Ok(()) => return Ok(None),
            Err(AllocError::CannotGrow { .. }) => {}
            Err(error) => return Err(error),
        }
        if request.tag == Tag::NONE {
            request.tag = self.tag();
        }
        let pool = self.pool();
        if request.room == 0 {
            let least = pool.driver.limits().largest_heap / SHARE;
            request = request.growable(request.size.saturating_mul(ROOM).max(least));
        }
        let range = pool.serve(&request, site.into(), true)?;
        let mut moved = Self::new(pool, range, request.size);
        pool.copy(self.range(), moved.range(), self.size())
            .map_err(|error| AllocError::Device(Boxed::new(error)))?;
        std::mem::swap(self, &mut moved);
        Ok(Some(moved))
    }
}

impl Shared {
    /// Makes a range long enough for `size` bytes, if that can be done where it is.
    fn extend(&self, range: &mut Range, size: u64) -> Result<bool, DeviceError> {
        let Some(len) = self.granules(size).filter(|_| !range.is_fallback()) else { return Ok(false) };
        if len <= range.len() {
            return Ok(true);
        }
        let page = self.page();
        let rounded = if range.is_growing() { len.checked_next_multiple_of(page) } else { Some(len) };
        let Some(len) = rounded else { return Ok(false) };
        let (heap, block) = (range.heap(), range.tenant().block());
        let into_free =
            || self.open(heap, |open| Some(open.heap_mut()?.space.extend(block, len))) == Some(true);
        let extended = into_free() || {
            let _climbing = self.climb_alone("Buffer::grow")?;
            self.extend_with_more(heap, block, len, page)?
        };
        if extended {
            range.lengthen(len);
        }
        Ok(extended)
    }

    /// Commits memory behind a block so that it has `len` granules; `false` if there is no room. Where too much lies in holes elsewhere, as much is taken out of those. The caller climbs.
    fn extend_with_more(&self, heap: u16, block: u32, len: u32, page: u32) -> Result<bool, DeviceError> {
        let plan = || {
            self.open(heap, |open| {
                let heap = open.heap_mut().filter(|heap| heap.elastic)?;
                let span = heap.space.plan_extension(block, len, page)?;
                Some((span, Arc::clone(&heap.memory)))
            })
        };
        let Some((span, _)) = plan() else { return Ok(false) };
        self.even_out(span, span.len, page, heap)?;
        // Only the thread that climbs changes voids, but the hole before one comes and goes.
        let Some((span, memory)) = plan() else { return Ok(false) };
        self.commit_or_take(&*memory, span, page, heap)?;
        Ok(self.open(heap, |open| Some(open.heap_mut()?.space.extend_with(block, len, span))) == Some(true))
    }

    /// Whether addresses can be kept behind a buffer.
    fn keeps_room(&self) -> bool {
        self.config.heaps == HeapSizing::Elastic && self.driver.limits().elastic
    }

    /// A range for a request that will grow; `None` if there is no memory for more than it asks, and
    /// it is a request like any other.
    pub(crate) fn allocate_growing(&self, request: &Request, align: u64) -> Option<Range> {
        if !self.process.is_current() {
            return None;
        }
        if self.keeps_room() {
            return self.allocate_with_room(request, align);
        }
        let spare = (request.size / SPARE).min(request.room.saturating_sub(request.size));
        let want = self.want(request.size.checked_add(spare)?, align)?;
        self.heaps.allocate(want).or_else(|| self.make_available(want))
    }

    /// A range with addresses kept behind it.
    fn allocate_with_room(&self, request: &Request, align: u64) -> Option<Range> {
        if align > self.driver.limits().granularity {
            return None;
        }
        let page = self.page();
        let len = self.granules(request.size)?.checked_next_multiple_of(page)?;
        let most = self.granules(request.room.max(request.size)).unwrap_or(u32::MAX);
        self.move_in();
        let heap = self.home().map_or(0, |home| home.large);
        let _climbing = self.growth.lock()?;
        let plan = || {
            self.open(heap, |open| {
                let heap = open.heap()?;
                let room = heap.space.plan_tail(most, page).filter(|room| room.len >= len)?;
                Some((room, Arc::clone(&heap.memory)))
            })
        };
        let (room, _) = plan()?;
        self.even_out(PageRun { len, ..room }, len, page, heap).ok()?;
        let (room, memory) = plan()?;
        self.commit_or_take(&*memory, PageRun { len, ..room }, page, heap).ok()?;
        let want = Want { class: GROWING, len, align: 1 };
        self.open(heap, |open| {
            let placed = open.heap_mut()?.space.place_with_tail(room, len);
            open.range(placed, want)
        })
    }

    /// Commits a planned span. At the limit what little lies in holes makes way, and only then is a
    /// soft limit passed.
    fn commit_or_take(
        &self,
        memory: &dyn Memory,
        span: PageRun,
        page: u32,
        heap: u16,
    ) -> Result<(), DeviceError> {
        let (offset, len) = (self.bytes(span.offset.into()), self.bytes(span.len.into()));
        let commit = |up_to| self.driver.commit(memory, offset, len, up_to);
        commit(UpTo::Soft).or_else(|error| {
            let taken = self.take_from_holes(span.len, page, Some((heap, span.block)))?;
            let past_limit = matches!(error, DeviceError::PastLimit { .. });
            if taken > 0 || past_limit { commit(UpTo::Hard) } else { Err(error) }
        })
    }

    /// Tells the books of a buffer that has grown.
    fn count_growth(&self, range: &Range, old: u64, new: u64) {
        range.tenant().resize(new);
        if self.config.track_statistics {
            let shard = |local: &Local| local.counters.grown(old, new, &self.peak);
            self.count(shard, |past| past.grown(old, new, &self.peak));
        }
    }

    /// The device's step for committing memory, in granules.
    pub(crate) fn page(&self) -> u32 {
        (self.driver.limits().granularity >> self.shift) as u32
    }
}

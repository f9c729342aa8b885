//! Buffers that grow: in place where there is room behind them, otherwise by a move.
//!
//! The module owns how a buffer gets longer. It never gives a buffer addresses that another buffer has. A
//! buffer made to grow lies in whole pages of its own, with a reserved tail behind it. It grows by committing
//! the next pages of the tail, which no other buffer can get. Tails are reserved only where heaps grow in
//! place: there they cost nothing. Elsewhere such a buffer gets a little more than it asks, so that it need
//! not move each time. Any buffer grows into free memory that lies behind it.
#![forbid(unsafe_code)]

use crate::device::DeviceError;
use crate::pool::accounting::quotas::Charge;
use crate::pool::cache::thread_state::ThreadState;
use crate::pool::core::buffer::Buffer;
use crate::pool::core::{Core, closing, notes};
use crate::pool::heaps::span::Span;
use crate::pool::interface::error::{AllocError, CannotGrow, DeviceFailure, NoRoom};
use crate::pool::interface::request::{Request, Tag};
use crate::pool::path::allocate;

/// The room for a buffer that had to be moved to grow: the larger of [`ROOM`] times its size and one part in
/// [`SHARE`] of a heap's address range.
const ROOM: u64 = 16;
const SHARE: u64 = 64;

impl Buffer {
    /// Makes the buffer `size` bytes long where it is: its address and its contents stay. The new bytes are
    /// uninitialised. A size that is not larger changes nothing.
    ///
    /// The buffer grows within the rounding of its own span, into free memory behind it, and where the device
    /// can map more memory behind it. The last is sure up to the room that [`Request::growable`] asked for,
    /// as long as the device has memory.
    ///
    /// # Errors
    /// [`AllocError::CannotGrow`] if there is no room, see [`Buffer::grow_or_move`];
    /// [`AllocError::QuotaExceeded`] if the tag's quota does not allow it. The buffer is as it was.
    pub fn grow(&mut self, size: u64) -> Result<(), AllocError> {
        self.here()?;
        if size <= self.size() { Ok(()) } else { self.grow_in_place(size) }
    }

    fn grow_in_place(&mut self, size: u64) -> Result<(), AllocError> {
        let old = self.size();
        let tag = self.tag();
        let (pool, span) = self.parts();
        let charge = if span.is_metered() { pool.quotas.charge(tag, size, old)? } else { None };
        if charge.is_none() {
            // The quota was lifted meanwhile.
            span.unmeter();
        }
        let grown = extend(pool, span, size);
        // If the program's code panics, the buffer has the size and the charge that it had.
        notes::speak(pool);
        if !matches!(grown, Ok(true)) {
            let no_room = NoRoom { size: old, requested: size, device: grown.err() };
            return Err(AllocError::CannotGrow(CannotGrow::new(no_room)));
        }
        charge.into_iter().for_each(Charge::settle);
        count_growth(pool, span, old, size);
        self.set_size(size);
        Ok(())
    }

    /// As [`Buffer::grow`]. Where that is not possible, copies the contents to a new span, as `request` says,
    /// and the buffer is there from now on. Its alignment is that of the request. So is its tag, unless the
    /// request has none. A request without room to grow gets some, so that a buffer that grows for long
    /// seldom moves.
    ///
    /// Returns the old buffer if it moved. The caller drops it, or retires it if work in flight still reads
    /// it. Work that writes to it must have completed before the call. A move counts as an allocation, and as
    /// a free once the old buffer is gone.
    ///
    /// # Errors
    /// As [`Pool::allocate`](crate::Pool::allocate), and [`AllocError::Device`] if the device cannot copy;
    /// the buffer is as it was then.
    #[track_caller]
    pub fn grow_or_move(&mut self, request: impl Into<Request>) -> Result<Option<Self>, AllocError> {
        let mut request = request.into();
        let site = request.site();
        match self.grow(request.size) {
            Ok(()) => return Ok(None),
            Err(AllocError::CannotGrow(_)) => {}
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
        let span = allocate::serve(pool, &request, site)?;
        let mut moved = Self::new(pool, span, request.size);
        pool.copy(self.span(), moved.span(), self.size())
            .map_err(|error| AllocError::Device(DeviceFailure::new(error)))?;
        closing::has_moved(pool);
        std::mem::swap(self, &mut moved);
        Ok(Some(moved))
    }
}

/// Makes a span long enough for `size` bytes, if that is possible where it is. Returns whether it was.
fn extend(core: &Core, span: &mut Span, size: u64) -> Result<bool, DeviceError> {
    let Some(len) = core.granules(size).filter(|_| !span.is_fallback()) else { return Ok(false) };
    if len <= span.len() {
        return Ok(true);
    }
    let page = core.page();
    let rounded = if span.is_growing() { len.checked_next_multiple_of(page) } else { Some(len) };
    let Some(len) = rounded else { return Ok(false) };
    let (heap, block) = (span.arena(), span.record().block());
    let into_free = || core.open(heap, |open| open.space_mut().extend(block, len));
    let extended = into_free() || {
        let _alone = core.lock_growth("Buffer::grow")?;
        core.sizing.extend(core, heap, block, len)?
    };
    if extended {
        span.lengthen(len);
    }
    Ok(extended)
}

/// Writes a buffer's new size to its record and to the counters.
fn count_growth(core: &Core, span: &Span, old: u64, new: u64) {
    span.record().resize(new);
    if core.config.track_statistics {
        let shard = |local: &ThreadState| local.counters.grown(old, new, &core.peak);
        core.count(shard, |past| past.grown(old, new, &core.peak));
    }
}

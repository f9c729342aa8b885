//! Buffers that grow.

use crate::buffer::{wh_buffer, wh_request};
use crate::status::{Failure, guarded, put, wh_status};
use crate::tables::{self, Entry, Held};

/// Makes a buffer `size` bytes long where it is: its address and its contents stay, and the new bytes are
/// uninitialised. A size that is not larger changes nothing. Returns `WH_CANNOT_GROW` if there is no room;
/// `growable` of the request asks for some. Since 0.2.
#[unsafe(no_mangle)]
pub extern "C" fn wh_grow(buffer: wh_buffer, size: u64) -> wh_status {
    guarded(|| {
        let mut taken = tables::take_buffer(buffer.id)?;
        match taken.held()? {
            Held::Fixed(buffer) => Ok(buffer.grow(size)?),
            Held::Movable(_) => Err(movable()),
        }
    })
}

/// As `wh_grow`, to the size of `request`. Where there is no room, copies the contents to a new place, as
/// `request` says, and `buffer` is there from now on: its addresses have changed. Writes the handle of the old
/// place to `left`, for the caller to free, or to retire if work in flight still reads it. Writes a handle of
/// all zeros if the buffer did not move. Work that writes to the buffer must be done before the call.
/// Since 0.2.
///
/// # Safety
/// `request` is null or points to a request, whose texts are null or end with a zero byte. `left` is null or
/// has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_grow_or_move(
    buffer: wh_buffer,
    request: *const wh_request,
    left: *mut wh_buffer,
) -> wh_status {
    guarded(|| {
        if left.is_null() {
            return Err(Failure::argument("left is null"));
        }
        // SAFETY: the caller keeps this function's contract.
        let asked = unsafe { wh_request::read(request) }?;
        if asked.movable {
            return Err(movable());
        }
        let mut taken = tables::take_buffer(buffer.id)?;
        let (pool, process) = (taken.pool, taken.process);
        let old = match taken.held()? {
            Held::Fixed(buffer) => buffer.grow_or_move(asked.request)?.map(Held::Fixed),
            Held::Movable(_) => return Err(movable()),
        };
        drop(taken);
        let id = old.map_or(0, |old| tables::add_buffer(Entry::new(old, pool, process)));
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(left, "left", wh_buffer { id }) }
    })
}

fn movable() -> Failure {
    Failure::argument("a movable buffer does not grow")
}

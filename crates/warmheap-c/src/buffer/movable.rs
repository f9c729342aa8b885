//! Movable buffers: pins, which keep one in its place while a program uses it.

use crate::buffer::{wh_buffer, wh_buffer_info};
use crate::sized;
use crate::status::{Failure, guarded, wh_status};
use crate::tables::{self, Held, Movable, Shared};

/// Keeps a movable buffer where it is until `wh_unpin`, and writes its place to `info`. Pins count: the buffer
/// moves again after as many calls of `wh_unpin`, on any thread. Waits for the end of a move that is under
/// way. Since 0.2.
///
/// # Safety
/// `info` is null or points to a struct whose `struct_size` is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pin(buffer: wh_buffer, info: *mut wh_buffer_info) -> wh_status {
    guarded(|| {
        // SAFETY: the caller keeps this function's contract.
        unsafe { sized::check(info, "info") }?;
        let shared = with_movable(buffer, |movable| Ok(movable.share()))?;
        // No table is locked during the wait, and the buffer may be freed meanwhile.
        shared.buffer().hold();
        let pinned = with_movable(buffer, |movable| {
            movable.pin();
            Ok(())
        });
        if pinned.is_err() {
            shared.buffer().release();
        }
        pinned?;
        let found = place(&shared);
        // SAFETY: the caller keeps this function's contract.
        unsafe { sized::write(info, "info", &found) }
    })
}

/// Ends one pin. Note first, with `wh_in_flight_until`, which work still uses the buffer. Since 0.2.
#[unsafe(no_mangle)]
pub extern "C" fn wh_unpin(buffer: wh_buffer) -> wh_status {
    guarded(|| with_movable(buffer, Movable::unpin))
}

/// Calls `look` with a movable buffer, while the buffer's table is locked.
fn with_movable<R>(
    buffer: wh_buffer,
    look: impl FnOnce(&mut Movable) -> Result<R, Failure>,
) -> Result<R, Failure> {
    tables::with_buffer(buffer.id, |entry| match entry.held()? {
        Held::Movable(movable) => look(movable),
        Held::Fixed(_) => Err(Failure::argument("the buffer is not movable; wh_inspect tells its place")),
    })
}

/// The place of a buffer that is held. Waits for nothing but moments.
pub(super) fn place(held: &Shared) -> wh_buffer_info {
    let pinned = held.buffer().pin();
    wh_buffer_info::of(&pinned, held.buffer().moves())
}

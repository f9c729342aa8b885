//! Movable buffers: pins, which keep one in its place while a program uses it.

use crate::buffer::{wh_buffer, wh_buffer_info};
use crate::sized;
use crate::status::{Failure, guarded, wh_status};
use crate::tables::{self, Held, Keeper, Movable};

/// Keeps a movable buffer where it is until `wh_unpin`, and writes its place to `info`. Pins count: the buffer
/// moves again after as many calls of `wh_unpin`, on any thread. Waits for the end of a move that is under
/// way. A buffer whose pool was closed stays where it is from its next pin on. Since 0.2.
///
/// # Safety
/// `info` is null or points to a struct whose `struct_size` is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pin(buffer: wh_buffer, info: *mut wh_buffer_info) -> wh_status {
    guarded(|| {
        // SAFETY: the caller keeps this function's contract.
        unsafe { sized::check(info, "info") }?;
        let (pool, pinned) = tables::with_buffer(buffer.id, |entry| {
            let pool = entry.pool;
            Ok((pool, matches!(entry.held()?, Held::Movable(movable) if movable.is_pinned())))
        })?;
        // The keeper is made while no table is locked. Another thread's pin may make it superfluous.
        let keeper = match tables::pool(pool) {
            _ if pinned => None,
            Ok(pool) => Some(Keeper::of(&pool)),
            Err(_) => Some(Keeper::of_closed(tables::queue_of(pool).as_ref().map(|open| &open.queue))),
        };
        let found = tables::with_buffer(buffer.id, |entry| match entry.held()? {
            Held::Movable(movable) => {
                movable.pin(keeper);
                if !movable.is_pinned() {
                    return Err(Failure::order("another thread unpinned the buffer meanwhile; pin it again"));
                }
                Ok(place(movable))
            }
            Held::Fixed(_) => Err(Failure::argument("the buffer is not movable; wh_inspect tells its place")),
        })?;
        // SAFETY: the caller keeps this function's contract.
        unsafe { sized::write(info, "info", &found) }
    })
}

/// Ends one pin. Note first, with `wh_in_flight_until`, which work still uses the buffer. Since 0.2.
#[unsafe(no_mangle)]
pub extern "C" fn wh_unpin(buffer: wh_buffer) -> wh_status {
    guarded(|| {
        tables::with_buffer(buffer.id, |entry| match entry.held()? {
            Held::Movable(movable) => movable.unpin(),
            Held::Fixed(_) => Err(Failure::argument("the buffer is not movable")),
        })
    })
}

/// The place of a pinned buffer.
pub(super) fn place(movable: &Movable) -> wh_buffer_info {
    let pinned = movable.buffer().pin();
    wh_buffer_info::of(&pinned, movable.buffer().moves())
}

//! Heaps of a thread's own, on devices whose heaps grow in place: there, pages that are free in one
//! heap can be taken out and put into another, so a heap more costs addresses, not memory.
//!
//! A thread works on its heaps without locked instructions. It is given them when memory is first
//! cut for it, and leaves them when it ends, for the next thread to find.
#![forbid(unsafe_code)]

use crate::pool::cache::thread_state;
use crate::pool::core::Core;
use crate::pool::heaps::thread_owned::OwnHeaps;

/// Decides whether the calling thread has heaps for itself, if that is still open; `true` if it
/// was, and there is a place to look into.
pub(crate) fn move_in(core: &Core) -> bool {
    let undecided = core.session(|session| Some(session.own.heaps.is_undecided())) == Some(true);
    if !undecided {
        return false;
    }
    let Some(found) = core.sizing.heaps_for_thread(core) else { return false };
    settle_in(core, found);
    true
}

/// Notes what was found for this thread, unless it or the pool has ended meanwhile.
fn settle_in(core: &Core, mut found: OwnHeaps) {
    thread_state::share(core, |local| {
        let mut own = local.own.take();
        if own.heaps.is_undecided() {
            std::mem::swap(&mut own.heaps, &mut found);
        }
    });
    found.leave(&core.heaps);
}

//! Thread-owned heaps, on devices whose heaps grow in place. There, free pages of one heap can be moved to
//! another, so a further heap costs addresses and not memory.
//!
//! The module owns when a thread gets its heaps: when memory is first cut for it. The thread works on them
//! without locked instructions. It leaves them when it ends, and a later thread adopts them.
#![forbid(unsafe_code)]

use crate::pool::cache::thread_state;
use crate::pool::core::Core;
use crate::pool::heaps::thread_owned::OwnHeaps;

/// Decides whether the calling thread has heaps of its own, if that is still open. Returns `true` if it was
/// open and the thread has heaps to search now.
pub(crate) fn move_in(core: &Core) -> bool {
    let undecided = core.session(|session| Some(session.own.heaps.is_undecided())) == Some(true);
    if !undecided {
        return false;
    }
    let Some(found) = core.sizing.heaps_for_thread(core) else { return false };
    settle_in(core, found);
    true
}

/// Gives this thread the heaps that were found for it, unless it or the pool has ended meanwhile.
fn settle_in(core: &Core, mut found: OwnHeaps) {
    thread_state::share(core, |local| {
        let mut own = local.own.take();
        if own.heaps.is_undecided() {
            std::mem::swap(&mut own.heaps, &mut found);
        }
    });
    found.leave(&core.heaps);
}

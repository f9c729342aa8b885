//! Heaps that are created and given back as a whole.
//!
//! The module owns how such a heap comes and goes. It never destroys a heap that a span is out of.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::iter;

use arrayvec::ArrayVec;

use crate::device::{DeviceError, HeapRequest};
use crate::pool::accounting::account::UpTo;
use crate::pool::core::Core;
use crate::pool::heaps::arena::Arena;
use crate::pool::heaps::arena_guard::{ArenaGuard, Heap};
use crate::pool::heaps::fit_index::MAX_ARENAS;
use crate::pool::heaps::span::{Span, SpanRequest};
use crate::sync::lock;

/// Destroys heaps without used blocks, the purgeable ones first, while more than `target` bytes are held and
/// more heaps exist than were promised. Returns the bytes given back. The caller holds the growth lock.
pub(crate) fn drop_unused_heaps(core: &Core, target: u64) -> u64 {
    let unused = take_unused(core, target);
    unused.into_iter().map(|heap| destroy(core, heap)).sum()
}

fn take_unused(core: &Core, target: u64) -> Vec<Heap> {
    // While the lock is held, no heap is on its way from one arena to another.
    let mut purgeable = lock(&core.purgeable);
    let mut beyond = beyond_promise(core, &purgeable);
    let mut excess = core.driver.reserved().saturating_sub(target);
    let in_arena = |arena: &Arena| arena.with(|open| open.remove_unused(|_| true));
    let in_arenas = core.heaps.arenas().iter().flat_map(|arena| iter::from_fn(move || in_arena(arena)));
    let mut unused = iter::from_fn(|| purgeable.pop()).chain(in_arenas);
    let mut taken = Vec::new();
    while excess > 0 && beyond > 0 {
        let Some(heap) = unused.next() else { break };
        (excess, beyond) = (excess.saturating_sub(heap.held()), beyond - 1);
        taken.push(heap);
    }
    taken
}

/// Destroys a heap that was unused for `times` looks of decay, unless the settings promise it. Returns its
/// bytes, or `None` if there is none. The caller holds the growth lock.
pub(crate) fn drop_aged_heap(core: &Core, times: u16) -> Option<u64> {
    let aged = {
        let purgeable = lock(&core.purgeable);
        let mut arenas = core.heaps.arenas().iter().filter(|_| beyond_promise(core, &purgeable) > 0);
        arenas.find_map(|arena| arena.with(|open| open.remove_aged(times)))
    };
    aged.map(|heap| destroy(core, heap))
}

/// How many heaps there are beyond those that the settings promise.
fn beyond_promise(core: &Core, purgeable: &[Heap]) -> usize {
    match core.sizing.promised() {
        0 => usize::MAX,
        promised => core.count_heaps(purgeable).saturating_sub(promised),
    }
}

/// Cuts a span out of the arena `residence`, into which unused heaps move if nothing fits there. Then, unless the
/// pool should rather grow, cuts it out of any other.
pub(crate) fn cut(
    core: &Core,
    residence: Option<u16>,
    want: SpanRequest,
    mut cut: impl FnMut(&mut ArenaGuard<'_>) -> Option<Span>,
) -> Option<Span> {
    if let Some(to) = residence {
        let found = core.heaps.allocate_at(want, residence, &mut cut).or_else(|| {
            let any = take_over(core, to, want);
            any.then(|| core.heaps.allocate_at(want, residence, &mut cut)).flatten()
        });
        if found.is_some() || core.sizing.grows_first(core, want.len) {
            return found;
        }
    }
    core.heaps.allocate_elsewhere(want, residence, &mut cut)
}

/// Moves unused heaps, at least as long as the request, to the arena `residence`: half of those of the other
/// arena that has most free. Returns `false` if there is none. Moving a heap costs less than cutting from it
/// where another thread cuts, too.
pub(super) fn take_over(core: &Core, residence: u16, want: SpanRequest) -> bool {
    let len = want.len.saturating_add(want.align - 1);
    if core.heaps.sparing(residence, len).next().is_none() {
        return false;
    }
    // Threads that count heaps, or look for the last free block, hold this lock, so that they miss no heap
    // that is on its way.
    let mut purgeable = lock(&core.purgeable);
    // Each figure is read once, because threads change them meanwhile.
    let sparing =
        core.heaps.sparing(residence, len).map(|arena| (Reverse(arena.levels().free), arena.index()));
    let mut sparing: ArrayVec<_, MAX_ARENAS> = sparing.collect();
    sparing.sort_unstable();
    sparing.into_iter().any(|(_, index)| {
        let arena = core.heaps.arena(index);
        let spare = arena.with(|open| open.take_spare(len, arena.residents() > 0));
        let mut any = false;
        for heap in spare {
            let installed = core.heaps.install(residence, heap);
            any |= installed.is_ok();
            // An arena can have too many. The heap goes back then, or is taken into use later.
            purgeable.extend(installed.err().and_then(|heap| arena.install(heap).err()));
        }
        any
    })
}

/// Creates a heap of `size` bytes. Returns `false` if there can be no more heaps.
pub(crate) fn add_heap(core: &Core, size: u64, up_to: UpTo) -> Result<bool, DeviceError> {
    let Some(len) = core.granules(size) else { return Ok(false) };
    let heaps = core.heap_count();
    if heaps >= core.sizing.most_heaps() {
        return Ok(false);
    }
    // Settings may name any number of bytes; devices work in whole granules.
    let size = core.bytes(len.into());
    let label = format!("warmheap {heaps}");
    let held = core.driver.create_heap(&HeapRequest::fixed(size, label), up_to)?;
    Ok(install(core, Heap::new(len, held, false)))
}

/// Puts a heap into an arena. Destroys it and returns `false` if there is none with room for it.
pub(crate) fn install(core: &Core, heap: Heap) -> bool {
    let installed = core.heaps.install(core.sizing.arena_for_heap(core), heap);
    let installed = installed.or_else(|heap| core.heaps.install(core.heaps.emptiest().0, heap));
    installed.map_err(|heap| destroy(core, heap)).is_ok()
}

/// Gives a heap that is in no arena back to the device. Returns its bytes.
pub(crate) fn destroy(core: &Core, heap: Heap) -> u64 {
    let held = heap.held();
    core.note_end(core.driver.give_back(heap.memory, held));
    held
}

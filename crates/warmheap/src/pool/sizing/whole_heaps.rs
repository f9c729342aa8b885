//! Heaps that are created and given back as a whole, and their slots in the table.
//!
//! The module owns how such a heap comes and goes. It never destroys a heap that a span is out of.
#![forbid(unsafe_code)]

use crate::device::{DeviceError, HeapKind, HeapRequest};
use crate::offsets::RangeAllocator;
use crate::pool::accounting::account::UpTo;
use crate::pool::core::Core;
use crate::pool::heaps::slot::{Heap, HeapGuard};
use crate::sync::lock;

/// Destroys heaps without used blocks, the purgeable ones first, while more than `target` bytes are held and
/// more heaps exist than were promised. Returns the bytes given back. The caller holds the growth lock.
pub(crate) fn drop_unused_heaps(core: &Core, target: u64) -> u64 {
    let mut given = 0;
    let excessive = || core.driver.reserved() > target && core.heap_count() > core.sizing.promised();
    while excessive() {
        let Some(heap) = lock(&core.resting).pop() else { break };
        given += destroy(core, heap);
    }
    for heap in 0..core.heaps.slots().len() as u16 {
        if excessive() {
            given += drop_heap(core, heap);
        }
    }
    given
}

/// Creates a heap of `size` bytes. Returns `false` if no slot is free for it.
pub(crate) fn add_heap(core: &Core, size: u64, up_to: UpTo) -> Result<bool, DeviceError> {
    let Some(len) = core.granules(size) else { return Ok(false) };
    if core.heap_count() >= core.heaps.places() {
        return Ok(false);
    }
    // Settings may name any number of bytes; devices work in whole granules.
    let size = core.bytes(len.into());
    let label = format!("warmheap {}", core.heap_count());
    let held = core.driver.create_heap(&HeapRequest { size, kind: HeapKind::Fixed, label }, up_to)?;
    let mut space = RangeAllocator::new(len);
    space.commit(0, 0, len);
    Ok(install(core, Heap::new(space, held, false)).is_some())
}

/// Puts a heap that is in no slot into one. Destroys it and returns `None` if no slot is free.
pub(crate) fn install(core: &Core, heap: Heap) -> Option<u16> {
    let place = core.heaps.vacant();
    match place {
        Some(place) => core.heaps.install(place, heap),
        None => _ = destroy(core, heap),
    }
    place
}

/// Destroys a heap if no span of it is out. Returns the bytes given back.
pub(crate) fn drop_heap(core: &Core, heap: u16) -> u64 {
    let unused = |open: &mut HeapGuard<'_>| open.remove_if(|heap| heap.space.used_blocks() == 0);
    core.heaps.slot(heap).with(unused).map_or(0, |heap| destroy(core, heap))
}

/// Gives a heap that is in no slot back to the device. Returns its bytes.
pub(crate) fn destroy(core: &Core, heap: Heap) -> u64 {
    let held = heap.held(core.shift);
    core.note_end(core.driver.give_back(heap.memory, held));
    held
}

/// Destroys a heap of `idle` granules, all of them idle, unless it is one of those promised. Returns the
/// granules that went.
pub(crate) fn drop_idle_heap(core: &Core, index: u16, idle: u32) -> u32 {
    let len = core.heaps.slot(index).levels().committed;
    if core.heap_count() <= core.sizing.promised() || len > idle || drop_heap(core, index) == 0 {
        return 0;
    }
    idle
}

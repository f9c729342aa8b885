//! Purgeable heaps: heaps without buffers, whose pages the system may take until a request needs them.
//!
//! The module owns how a heap becomes purgeable and how it is taken back into use. A purgeable heap is in no
//! arena. So no span can be cut from it before it is taken back into use, and requests that find room
//! elsewhere pay nothing for the possibility. The slow path takes purgeable heaps back before it grows, and
//! gives up what is unused when the device is short. Only the thread that holds the growth lock moves heaps.
//! The list's lock is never held while the device is called.
#![forbid(unsafe_code)]

use crate::device::{Contents, DeviceError};
use crate::pool::core::notes::Note;
use crate::pool::core::{Core, caches};
use crate::pool::heaps::arena_guard::Heap;
use crate::pool::heaps::span::SpanRequest;
use crate::pool::sizing::whole_heaps;
use crate::sync::lock;

/// Makes every heap without buffers purgeable, where the device can. Returns the bytes of those heaps.
pub(crate) fn make_purgeable(core: &Core) -> Result<u64, DeviceError> {
    let _alone = core.lock_growth("Pool::make_purgeable")?;
    caches::flush_caches(core);
    let mut bytes = 0;
    for (index, arena) in (0..).zip(core.heaps.arenas()) {
        while let Some(heap) = arena.with(|open| open.remove_unused(|heap| !heap.elastic)) {
            match core.driver.set_volatile(&*heap.memory, true) {
                Ok(_) => {
                    bytes += heap.held();
                    lock(&core.purgeable).push(heap);
                }
                Err(error) => {
                    let refused = core.heaps.install(index, heap).err();
                    refused.into_iter().for_each(|heap| _ = whole_heaps::destroy(core, heap));
                    let cannot = matches!(error, DeviceError::Unsupported { .. });
                    return if cannot { Ok(bytes) } else { Err(error) };
                }
            }
        }
    }
    Ok(bytes)
}

/// Takes the smallest purgeable heap that is long enough back into use. Returns `false` if there is none. The
/// caller holds the growth lock.
pub(crate) fn reclaim(core: &Core, want: SpanRequest) -> bool {
    while let Some(heap) = take_fitting(core, want) {
        match core.driver.set_volatile(&*heap.memory, false) {
            Ok(contents) => {
                core.notes.add(Note::WokeUp { lost: contents == Contents::Lost });
                return whole_heaps::install(core, heap);
            }
            Err(error) => {
                core.notes.add(Note::CouldNotWake(error));
                whole_heaps::destroy(core, heap);
            }
        }
    }
    false
}

fn take_fitting(core: &Core, want: SpanRequest) -> Option<Heap> {
    let mut purgeable = lock(&core.purgeable);
    let lengths = (0..).zip(purgeable.iter().map(|heap| heap.len));
    let (_, place) = lengths.filter(|(_, len)| *len >= want.len).map(|(place, len)| (len, place)).min()?;
    Some(purgeable.swap_remove(place))
}

/// Gives unused memory back to the device, because a call failed with `error`. Returns `Ok` if the call is
/// worth another try: it failed for want of bytes or objects, and something went back. The caller holds the
/// growth lock.
pub(crate) fn make_way(core: &Core, error: DeviceError) -> Result<(), DeviceError> {
    let short = matches!(
        error,
        DeviceError::OutOfMemory { .. } | DeviceError::TooManyObjects { .. } | DeviceError::PastLimit { .. }
    );
    if !short {
        return Err(error);
    }
    let before = core.driver.account().returns();
    drop_all(core);
    // What was given back before a failure counts.
    let _ = core.sizing.give_back(core, 0);
    if core.driver.account().returns() != before { Ok(()) } else { Err(error) }
}

/// Destroys all purgeable heaps.
pub(crate) fn drop_all(core: &Core) {
    let purgeable = std::mem::take(&mut *lock(&core.purgeable));
    purgeable.into_iter().for_each(|heap| _ = whole_heaps::destroy(core, heap));
}

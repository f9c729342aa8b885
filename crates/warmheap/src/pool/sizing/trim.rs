//! Giving memory back to the device: whole free pages where heaps grow in place, unused heaps elsewhere.
//!
//! Owns what may go and in which order; when it goes is decided by those who ask. Whoever calls
//! climbs (holds the lock of growth), so voids and places change under one hand at a time; no heap
//! is locked while the device is called. What the settings promise stays.
#![forbid(unsafe_code)]

use crate::device::DeviceError;
use crate::pool::core::{Core, caches, queues};

/// Gives back what no buffer uses and the settings do not promise, until at most `target` bytes
/// are held. Answers the bytes given back.
pub(crate) fn trim(core: &Core, target: u64) -> Result<u64, DeviceError> {
    queues::poll_queues(core);
    let _climbing = core.climb_alone("Pool::trim")?;
    let mut given = core.sizing.give_back(core, target)?;
    // Threads are disturbed only if what lies in heaps is not enough.
    if core.driver.reserved() > target && caches::flush_caches(core) {
        given += core.sizing.give_back(core, target)?;
    }
    Ok(given)
}

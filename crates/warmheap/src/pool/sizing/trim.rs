//! Trim: gives memory back to the device, as whole free pages where heaps grow in place and as unused heaps
//! elsewhere.
//!
//! The module owns what may go and in which order. It never decides when: the caller does. The thread that
//! trims holds the growth lock, so only one thread at a time changes decommitted blocks and heaps. No
//! heap's lock is held while the device is called. What the settings promise stays.
#![forbid(unsafe_code)]

use crate::device::DeviceError;
use crate::pool::core::{Core, caches, queues};

/// Gives back what no buffer uses and the settings do not promise, until at most `target` bytes are held.
/// Returns the bytes given back.
pub(crate) fn trim(core: &Core, target: u64) -> Result<u64, DeviceError> {
    queues::poll_queues(core);
    let _alone = core.lock_growth("Pool::trim")?;
    let mut given = core.sizing.give_back(core, target)?;
    // Threads are disturbed only if the free memory in heaps is not enough.
    if core.driver.reserved() > target && caches::flush_caches(core) {
        given += core.sizing.give_back(core, target)?;
    }
    Ok(given)
}

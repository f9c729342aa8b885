//! Changes memory of a device that the test made and does not share.
#![allow(dead_code, reason = "each test uses a part")]

use std::ops::Range;

use warmheap::device::{Contents, DeviceError, Memory};

pub(crate) fn commit(memory: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
    // SAFETY: only the test uses the memory, and no test commits twice.
    unsafe { memory.commit(range) }
}

pub(crate) fn decommit(memory: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
    // SAFETY: as above.
    unsafe { memory.decommit(range) }
}

pub(crate) fn warm(memory: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
    // SAFETY: as above.
    unsafe { memory.warm(range) }
}

pub(crate) fn fill(memory: &dyn Memory, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
    // SAFETY: as above.
    unsafe { memory.fill(range, byte) }
}

pub(crate) fn copy(
    to: &dyn Memory,
    at: u64,
    from: &dyn Memory,
    range: Range<u64>,
) -> Result<(), DeviceError> {
    // SAFETY: as above. The ranges do not overlap.
    unsafe { to.copy_from(at, from, range) }
}

pub(crate) fn set_volatile(memory: &dyn Memory, volatile: bool) -> Result<Contents, DeviceError> {
    // SAFETY: as above.
    unsafe { memory.set_volatile(volatile) }
}

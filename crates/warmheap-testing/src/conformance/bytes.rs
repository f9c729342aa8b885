//! Changes and reads the suite's memory. This is the suite's only unsafe code. No other code has that memory.
//! Each check changes only what it may, or what the device must refuse. The implementation guarantees the
//! pointer that [`Memory::host_ptr`] returns.
#![allow(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;

use warmheap::device::{DeviceError, Memory};

type Answer = Result<(), DeviceError>;

pub(super) fn commit(memory: &dyn Memory, range: Range<u64>) -> Answer {
    // SAFETY: this is the check's own heap, and no buffer holds a part of it.
    unsafe { memory.commit(range) }
}

pub(super) fn decommit(memory: &dyn Memory, range: Range<u64>) -> Answer {
    // SAFETY: as above.
    unsafe { memory.decommit(range) }
}

pub(super) fn warm(memory: &dyn Memory, range: Range<u64>) -> Answer {
    // SAFETY: as above.
    unsafe { memory.warm(range) }
}

pub(super) fn fill(memory: &dyn Memory, range: Range<u64>, byte: u8) -> Answer {
    // SAFETY: as above. Threads fill separate parts.
    unsafe { memory.fill(range, byte) }
}

pub(super) fn copy(to: &dyn Memory, at: u64, from: &dyn Memory, range: Range<u64>) -> Answer {
    // SAFETY: as above. The ranges do not overlap.
    unsafe { to.copy_from(at, from, range) }
}

/// Memory of a device that is not the one under test.
#[derive(Debug)]
pub(super) struct Foreign;

// SAFETY: this is one page of addresses that no memory has, and there is no CPU pointer.
unsafe impl Memory for Foreign {
    fn device_address(&self) -> u64 {
        1 << 12
    }

    fn size(&self) -> u64 {
        1 << 12
    }

    fn host_ptr(&self) -> Option<NonNull<u8>> {
        None
    }

    unsafe fn warm(&self, _: Range<u64>) -> Answer {
        Ok(())
    }

    unsafe fn fill(&self, _: Range<u64>, _: u8) -> Answer {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Returns the first byte of `range` that is not `expected`, with its offset. Returns `None` if there is
/// none, or if the CPU cannot access the memory.
pub(super) fn first_other(memory: &dyn Memory, range: Range<u64>, expected: u8) -> Option<(u64, u8)> {
    const PIECE: usize = 4096;
    let base = memory.host_ptr()?;
    // SAFETY: the device guarantees `size` bytes from its pointer. The caller stays inside the committed part
    // of them, and nothing else uses the memory now.
    let bytes = unsafe {
        std::slice::from_raw_parts(
            base.as_ptr().add(range.start as usize),
            (range.end - range.start) as usize,
        )
    };
    let expected_piece = [expected; PIECE];
    let piece = bytes.chunks(PIECE).position(|piece| *piece != expected_piece[..piece.len()])?;
    let offset = bytes[piece * PIECE..].iter().position(|byte| *byte != expected)? + piece * PIECE;
    Some((range.start + offset as u64, bytes[offset]))
}

/// Sets a range from the CPU, or does nothing if the CPU cannot access the memory.
pub(super) fn write(memory: &dyn Memory, range: Range<u64>, byte: u8) {
    let Some(base) = memory.host_ptr() else { return };
    let len = (range.end - range.start) as usize;
    // SAFETY: as above.
    unsafe { base.as_ptr().add(range.start as usize).write_bytes(byte, len) };
}

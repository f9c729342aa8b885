//! Memory that the suite has made, changed and looked at: the suite's only unsafe code. Nobody else has
//! that memory, each check changes what it may (or what must be refused), and the implementation
//! vouches for the pointer that [`Memory::host`] gives.
#![allow(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;

use warmheap::device::{DeviceError, Memory};

type Answer = Result<(), DeviceError>;

pub(super) fn commit(memory: &dyn Memory, range: Range<u64>) -> Answer {
    // SAFETY: the check's own heap, of which nobody holds a part.
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
    // SAFETY: as above; threads fill parts that lie apart.
    unsafe { memory.fill(range, byte) }
}

pub(super) fn copy(to: &dyn Memory, at: u64, from: &dyn Memory, range: Range<u64>) -> Answer {
    // SAFETY: as above; the ranges lie apart.
    unsafe { to.copy_from(at, from, range) }
}

/// Memory of no device under test.
#[derive(Debug)]
pub(super) struct Foreign;

// SAFETY: one page of addresses that nobody has; there is no CPU pointer.
unsafe impl Memory for Foreign {
    fn address(&self) -> u64 {
        1 << 12
    }

    fn size(&self) -> u64 {
        1 << 12
    }

    fn host(&self) -> Option<NonNull<u8>> {
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

/// The first byte of `range` that is not `expected`, with its offset. `None` if there is none, or
/// if the CPU cannot see the memory.
pub(super) fn first_other(memory: &dyn Memory, range: Range<u64>, expected: u8) -> Option<(u64, u8)> {
    const PIECE: usize = 4096;
    let base = memory.host()?;
    // SAFETY: the device vouches for `size` bytes from its pointer, the caller stays inside the
    // committed part of them, and nobody else uses the memory now.
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

/// Sets a range from the CPU; nothing where the CPU cannot see the memory.
pub(super) fn write(memory: &dyn Memory, range: Range<u64>, byte: u8) {
    let Some(base) = memory.host() else { return };
    let len = (range.end - range.start) as usize;
    // SAFETY: as above.
    unsafe { base.as_ptr().add(range.start as usize).write_bytes(byte, len) };
}

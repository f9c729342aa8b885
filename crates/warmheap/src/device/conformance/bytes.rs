//! Bytes of device memory as the CPU sees them. The suite's only unsafe code: a device vouches for
//! the pointer that [`Memory::host`] gives.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::device::Memory;

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

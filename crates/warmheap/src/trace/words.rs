//! Words written across a buffer, to see whether its contents survive.
//!
//! A few words prove as much as writing every byte would: another buffer in the same place writes
//! its own over the first and the last bytes of what they share.
#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr::NonNull;

use crate::Buffer;

/// The words in one place, at most; spread evenly, its first and last bytes included.
const PROBES: u64 = 64;
const WORD: u64 = size_of::<u64>() as u64;

/// Where in a buffer the words lie.
pub(super) struct Words {
    start: NonNull<u8>,
    size: u64,
}

impl Words {
    /// `None` where the CPU cannot reach the memory, or no word fits.
    pub(super) fn of(buffer: &Buffer) -> Option<Self> {
        Self::within(buffer, 0..buffer.size())
    }

    /// As [`Words::of`], for these bytes of the buffer alone.
    pub(super) fn within(buffer: &Buffer, bytes: Range<u64>) -> Option<Self> {
        assert!(bytes.end <= buffer.size(), "bytes of another buffer");
        let size = bytes.end - bytes.start;
        (size >= WORD).then_some(())?;
        // SAFETY: the buffer has more bytes than come before these.
        buffer.host().map(|start| Self { start: unsafe { start.add(bytes.start as usize) }, size })
    }

    fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        let last = self.size - WORD;
        let step = (last / PROBES).max(WORD);
        // No word reaches into the last one.
        (0..last.saturating_sub(WORD - 1)).step_by(step as usize).chain([last])
    }

    /// Writes words that no other buffer has at the same place.
    pub(super) fn write(&self, number: u64) {
        for offset in self.offsets() {
            // SAFETY: offset + 8 is within the buffer, which the caller holds and nobody else
            // reads or writes.
            unsafe { self.at(offset).write_unaligned(word(number, offset)) }
        }
    }

    /// The offset of the first word that is no longer what was written.
    pub(super) fn changed(&self, number: u64) -> Option<u64> {
        // SAFETY: `write` initialised these bytes.
        unsafe { self.first(|offset, found| found != word(number, offset)) }
    }

    /// The offset of the first word that is not zero, of a buffer that was cleared.
    pub(super) fn uncleared(&self) -> Option<u64> {
        // SAFETY: whoever cleared the buffer initialised these bytes.
        unsafe { self.first(|_, found| found != 0) }
    }

    /// # Safety
    /// The buffer's bytes are initialised.
    unsafe fn first(&self, is_wrong: impl Fn(u64, u64) -> bool) -> Option<u64> {
        // SAFETY: as in `write`, and initialised, as the caller says.
        self.offsets().find(|offset| is_wrong(*offset, unsafe { self.at(*offset).read_unaligned() }))
    }

    fn at(&self, offset: u64) -> NonNull<u64> {
        // SAFETY: offset is less than the buffer's size, so the pointer stays inside.
        unsafe { self.start.add(offset as usize) }.cast()
    }
}

fn word(number: u64, offset: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ offset
}

//! Writes words across a buffer, to check later whether its contents survived.
//!
//! A few words prove as much as writing every byte would. A second buffer in the same place writes its own
//! words over the first and the last bytes of the part that both share.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use warmheap::Buffer;

/// The most words between the first and the last. They are spread evenly.
const PROBES: u64 = 64;
const WORD: u64 = size_of::<u64>() as u64;

/// Words of 8 bytes across a range of a buffer: at its first bytes, at its last bytes, and evenly between.
#[derive(Debug)]
pub struct Words<'a> {
    start: NonNull<u8>,
    /// The size of the range, at least [`WORD`].
    size: u64,
    buffer: PhantomData<&'a Buffer>,
}

impl<'a> Words<'a> {
    /// Returns words across the whole buffer. Returns `None` if the CPU cannot access the memory, or no word
    /// fits.
    #[must_use]
    pub fn of(buffer: &'a Buffer) -> Option<Self> {
        Self::within(buffer, 0..buffer.size())
    }

    /// Returns words across these bytes of the buffer, as [`Words::of`] does. Returns `None` also if a byte
    /// is outside the buffer.
    #[must_use]
    pub fn within(buffer: &'a Buffer, bytes: Range<u64>) -> Option<Self> {
        let size = bytes.end.checked_sub(bytes.start)?;
        if size < WORD || bytes.end > buffer.size() {
            return None;
        }
        // SAFETY: the bytes begin inside the buffer, whose memory begins at `host`.
        let start = unsafe { buffer.host_ptr()?.add(bytes.start as usize) };
        Some(Self { start, size, buffer: PhantomData })
    }

    /// Writes words that differ from those of a buffer with another number at the same place.
    ///
    /// # Safety
    /// During the call no other thread, and no work on a device, reads or writes the buffer's bytes.
    pub unsafe fn write(&self, number: u64) {
        for offset in self.offsets() {
            // SAFETY: the word is inside the buffer. The borrow keeps the buffer's memory, and the caller
            // promises that no thread or device accesses it meanwhile.
            unsafe { self.at(offset).write_unaligned(word(number, offset)) }
        }
    }

    /// Returns the offset of the first word that is not what [`Words::write`] wrote for `number`.
    #[must_use]
    pub fn changed(&self, number: u64) -> Option<u64> {
        self.offsets().find(|offset| self.read(*offset) != word(number, *offset))
    }

    /// Returns the offset of the first word that is not zero, in a buffer that was cleared.
    #[must_use]
    pub fn uncleared(&self) -> Option<u64> {
        self.offsets().find(|offset| self.read(*offset) != 0)
    }

    fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        let last = self.size - WORD;
        let step = (last / PROBES).max(WORD);
        // These words do not overlap the last word.
        (0..last.saturating_sub(WORD - 1)).step_by(step as usize).chain([last])
    }

    fn read(&self, offset: u64) -> u64 {
        // SAFETY: the word is inside the buffer, and the borrow keeps the buffer's memory. Writing to it
        // takes unsafe code, whose caller promises that no thread reads meanwhile. The system gave the memory
        // with contents.
        unsafe { self.at(offset).read_unaligned() }
    }

    /// Returns the place of the word at `offset`, which is at least a word before the end.
    fn at(&self, offset: u64) -> NonNull<u64> {
        // SAFETY: `offset` is less than the buffer's size, so the pointer stays inside.
        unsafe { self.start.add(offset as usize) }.cast()
    }
}

fn word(number: u64, offset: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ offset
}

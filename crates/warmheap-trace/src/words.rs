//! Words written across a buffer, to see whether its contents survive.
//!
//! A few words prove as much as writing every byte would: another buffer in the same place writes
//! its own over the first and the last bytes of what they share.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;

use warmheap::Buffer;

/// The words in one place, at most; spread evenly, its first and last bytes included.
const PROBES: u64 = 64;
const WORD: u64 = size_of::<u64>() as u64;

/// Words of 8 bytes across some bytes of a buffer: the first, the last, and some evenly between.
#[derive(Debug)]
pub struct Words<'a> {
    start: NonNull<u8>,
    /// At least [`WORD`].
    size: u64,
    buffer: PhantomData<&'a Buffer>,
}

impl<'a> Words<'a> {
    /// Words across the whole buffer; `None` where the CPU cannot reach the memory, or no word fits.
    #[must_use]
    pub fn of(buffer: &'a Buffer) -> Option<Self> {
        Self::within(buffer, 0..buffer.size())
    }

    /// As [`Words::of`], across these bytes of the buffer alone; `None` also where they are not all the
    /// buffer's.
    #[must_use]
    pub fn within(buffer: &'a Buffer, bytes: Range<u64>) -> Option<Self> {
        let size = bytes.end.checked_sub(bytes.start)?;
        if size < WORD || bytes.end > buffer.size() {
            return None;
        }
        // SAFETY: the bytes begin inside the buffer, whose memory begins at `host`.
        let start = unsafe { buffer.host()?.add(bytes.start as usize) };
        Some(Self { start, size, buffer: PhantomData })
    }

    /// Writes words that no buffer of another number has at the same place.
    ///
    /// # Safety
    /// During the call no other thread, and no work on a device, reads or writes the buffer's bytes.
    pub unsafe fn write(&self, number: u64) {
        for offset in self.offsets() {
            // SAFETY: the word is inside the buffer, which is borrowed and so keeps its memory; the
            // caller keeps all others away.
            unsafe { self.at(offset).write_unaligned(word(number, offset)) }
        }
    }

    /// The offset of the first word that is no longer what [`Words::write`] wrote for `number`.
    #[must_use]
    pub fn changed(&self, number: u64) -> Option<u64> {
        self.offsets().find(|offset| self.read(*offset) != word(number, *offset))
    }

    /// The offset of the first word that is not zero, in a buffer that was cleared.
    #[must_use]
    pub fn uncleared(&self) -> Option<u64> {
        self.offsets().find(|offset| self.read(*offset) != 0)
    }

    fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        let last = self.size - WORD;
        let step = (last / PROBES).max(WORD);
        // No word reaches into the last one.
        (0..last.saturating_sub(WORD - 1)).step_by(step as usize).chain([last])
    }

    fn read(&self, offset: u64) -> u64 {
        // SAFETY: as in `write`: the buffer is borrowed, and those who write to it, which takes unsafe
        // code, promise that nobody reads meanwhile. The system gave the memory with contents.
        unsafe { self.at(offset).read_unaligned() }
    }

    /// Where the word at `offset` is, which is at least a word before the end.
    fn at(&self, offset: u64) -> NonNull<u64> {
        // SAFETY: offset is less than the buffer's size, so the pointer stays inside.
        unsafe { self.start.add(offset as usize) }.cast()
    }
}

fn word(number: u64, offset: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ offset
}

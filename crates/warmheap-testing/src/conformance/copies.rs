//! Checks of copies between pieces of one device's memory.
#![forbid(unsafe_code)]

use super::bytes;
use super::heaps::{expect, fill_and_look};
use super::{Device, DeviceError, HeapKind, Memory, Verdict, buffer, during, heap, heap_size};

pub(super) fn copy(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    let size = heap_size(&limits);
    let step = limits.alignment;
    let (one, other) = (heap(device, size, HeapKind::Fixed)?, heap(device, size, HeapKind::Fixed)?);
    fill_and_look(&*one, 0..size, 0x31)?;
    match bytes::copy(&*other, 0, &*one, 0..step) {
        Err(DeviceError::Unsupported { .. }) => return Ok(()),
        Err(error) => return Err(format!("copying {step} bytes between two heaps: {error}")),
        Ok(()) => {}
    }
    // Ranges start on the device's alignment, but end where the caller's bytes do.
    for len in [1, 3, step + 1, size / 2 - step] {
        copied(&*other, 2 * step, &*one, step, len)?;
    }
    let half = size / 2 / step * step;
    fill_and_look(&*one, half..size, 0x32)?;
    copied(&*one, 0, &*one, half, half - step - 64)?;
    let lone = buffer(device, size / 4 + 5, 1)?;
    fill_and_look(&*lone, 0..size / 4 + 5, 0x33)?;
    copied(&*other, step, &*lone, 0, size / 4 + 5)?;
    copied(&*lone, 0, &*other, half, step + 7)
}

/// Copies `len` equal bytes, and checks them and the bytes around them.
fn copied(to: &dyn Memory, at: u64, from: &dyn Memory, start: u64, len: u64) -> Verdict {
    const BEFORE: u8 = 0x5c;
    const BYTE: u8 = 0x77;
    fill_and_look(from, start..start + len, BYTE)?;
    let end = (at + len + 64).min(to.size());
    fill_and_look(to, 0..end, BEFORE)?;
    during(format_args!("copying {len} bytes to {at}"), bytes::copy(to, at, from, start..start + len))?;
    expect(to, at..at + len, BYTE, "the bytes of a copy")?;
    expect(from, start..start + len, BYTE, "the source of a copy")?;
    expect(to, 0..at, BEFORE, "the bytes before a copy")?;
    // Devices may copy whole words.
    expect(to, (at + len).next_multiple_of(4).min(end)..end, BEFORE, "the bytes after a copy")
}

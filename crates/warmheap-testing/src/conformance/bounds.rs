//! Checks that ranges and requests that make no sense are refused, and that nothing is touched.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::bytes::{self, Foreign};
use super::heaps::{expect, fill_and_look};
use super::{
    Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory, Verdict, buffer, ensure, heap,
    heap_size,
};

const BYTE: u8 = 0x6b;

pub(super) fn kept(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    requests(device, &limits)?;
    let heap = heap(device, heap_size(&limits), HeapKind::Fixed)?;
    let buffer = buffer(device, 4097, limits.alignment)?;
    for (memory, other) in [(&*heap, &*buffer), (&*buffer, &*heap)] {
        let size = memory.size();
        fill_and_look(memory, 0..size, BYTE)?;
        for range in outside(size) {
            refused(memory, "warm", &range, bytes::warm(memory, range.clone()))?;
            refused(memory, "fill", &range, bytes::fill(memory, range.clone(), !BYTE))?;
            copies(memory, other, &range)?;
        }
        expect(memory, 0..size, BYTE, "memory after calls that were refused")?;
    }
    if limits.elastic { elastic(device, &limits) } else { Ok(()) }
}

/// Returns ranges that are not inside memory of `size` bytes.
fn outside(size: u64) -> [Range<u64>; 7] {
    let backwards = Range { start: size / 2, end: size / 4 };
    [
        0..size + 1,
        size..size + 1,
        size - 1..1 << 40,
        size * 2..size * 3,
        1 << 63..u64::MAX,
        u64::MAX - 1..u64::MAX,
        backwards,
    ]
}

fn refused(memory: &dyn Memory, call: &str, range: &Range<u64>, answer: Result<(), DeviceError>) -> Verdict {
    let Range { start, end } = *range;
    let size = memory.size();
    ensure!(
        matches!(answer, Err(DeviceError::OutOfRange { .. })),
        "{call} of bytes {start} to {end} of memory of {size} bytes returned {answer:?}, not OutOfRange"
    );
    Ok(())
}

/// Copies from `range` of `from`, and to places that `from` does not have, if the device can copy.
fn copies(from: &dyn Memory, to: &dyn Memory, range: &Range<u64>) -> Verdict {
    let answer = bytes::copy(to, 0, from, range.clone());
    if matches!(answer, Err(DeviceError::Unsupported { .. })) {
        return Ok(());
    }
    refused(from, "a copy", range, answer)?;
    for at in [from.size(), u64::MAX] {
        refused(from, "a copy of a byte", &(at..at.saturating_add(1)), bytes::copy(from, at, to, 0..1))?;
    }
    let foreign = bytes::copy(to, 0, &Foreign, 0..1);
    ensure!(
        matches!(foreign, Err(DeviceError::ForeignMemory { .. })),
        "a copy from memory of another device returned {foreign:?}, not ForeignMemory"
    );
    Ok(())
}

/// Commits and decommits outside the heap, and parts of steps.
fn elastic(device: &dyn Device, limits: &DeviceLimits) -> Verdict {
    let step = limits.granularity;
    let memory = heap(device, 4 * step, HeapKind::Elastic)?;
    let memory = &*memory;
    bytes::commit(memory, 0..step).map_err(|error| format!("committing one step: {error}"))?;
    fill_and_look(memory, 0..step, BYTE)?;
    let backwards = Range { start: 3 * step, end: 2 * step };
    for range in
        [step..5 * step, 4 * step..5 * step, 1 << 63..(1 << 63) + step, backwards, step..step + step / 2]
    {
        refused(memory, "commit", &range, bytes::commit(memory, range.clone()))?;
    }
    for range in [0..5 * step, 1 << 63..(1 << 63) + step, 0..step / 2, step / 2..step] {
        refused(memory, "decommit", &range, bytes::decommit(memory, range.clone()))?;
    }
    expect(memory, 0..step, BYTE, "a step after calls that were refused")
}

/// Requests buffers and heaps of no bytes, and alignments that are no power of two.
fn requests(device: &dyn Device, limits: &DeviceLimits) -> Verdict {
    for (size, align) in [(0, limits.alignment), (4096, 0), (4096, 3), (4096, u64::MAX), (0, 0)] {
        let answer = device.allocate(size, align);
        ensure!(
            matches!(answer, Err(DeviceError::BadRequest { .. })),
            "a buffer of {size} bytes at a multiple of {align} returned {answer:?}, not BadRequest"
        );
    }
    let answer = device.create_heap(&HeapRequest::fixed(0, "none"));
    ensure!(
        matches!(answer, Err(DeviceError::BadRequest { .. })),
        "a heap of no bytes returned {answer:?}, not BadRequest"
    );
    Ok(())
}

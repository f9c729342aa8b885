//! Checks of fallback buffers, of fresh memory, and of overlaps.
#![forbid(unsafe_code)]

use super::bytes::{self, write};
use super::heaps::{expect, fill_and_look};
use super::{Device, HeapKind, Memory, Verdict, buffer, during, ensure, heap, heap_size};

/// Sizes around those that drivers prefer.
const SIZES: [u64; 9] = [1, 3, 255, 256, 4095, 4097, 65_537, 1 << 20, (1 << 20) + 1];
const ALIGNS: [u64; 5] = [1, 16, 4096, 1 << 16, 2 << 20];

pub(super) fn fallback(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    for size in SIZES.into_iter().filter(|size| *size <= limits.largest_buffer) {
        for align in ALIGNS.into_iter().chain([limits.alignment]) {
            let memory = buffer(device, size, align)?;
            let (address, got) = (memory.device_address(), memory.size());
            ensure!(got >= size, "{size} bytes were requested, and the device gave {got}");
            ensure!(
                address.is_multiple_of(align),
                "a buffer of {size} bytes at {address:#x} is not at a multiple of {align}, as requested"
            );
            let visible = memory.host_ptr().is_some();
            ensure!(
                visible == limits.host_visible,
                "host_visible is {}, but a buffer's CPU pointer is {:?}",
                limits.host_visible,
                memory.host_ptr()
            );
            during("warming a fallback buffer", bytes::warm(&*memory, 0..size))?;
            fill_and_look(&*memory, 0..size, 0xa5)?;
        }
    }
    Ok(())
}

pub(super) fn zeroed(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    if !limits.zeroed {
        return Ok(());
    }
    let size = heap_size(&limits);
    // The second round may get the memory that the first round wrote to.
    for round in 0..2 {
        for memory in [heap(device, size, HeapKind::Fixed)?, buffer(device, size, limits.alignment)?] {
            expect(&*memory, 0..size, 0, &format!("fresh memory (round {round})"))?;
            write(&*memory, 0..size, 0xff);
        }
    }
    Ok(())
}

pub(super) fn disjoint(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    let size = limits.granularity.min(1 << 20).max(limits.alignment);
    let mut held: Vec<Box<dyn Memory>> = Vec::new();
    for round in 0..8 {
        held.push(heap(device, limits.granularity, HeapKind::Fixed)?);
        for size in [1, size, size + 1] {
            held.push(buffer(device, size.min(limits.largest_buffer), limits.alignment)?);
        }
        if limits.elastic && round % 4 == 0 {
            held.push(heap(device, limits.granularity * 16, HeapKind::Elastic)?);
        }
        if round % 3 == 2 {
            // This leaves free blocks for the next rounds.
            let mut keep = false;
            held.retain(|_| {
                keep = !keep;
                keep
            });
        }
        apart(&held)?;
    }
    Ok(())
}

/// Returns an error if two regions share an address.
pub(super) fn apart(held: &[Box<dyn Memory>]) -> Verdict {
    let mut regions: Vec<_> = held.iter().map(|memory| (memory.device_address(), memory.size())).collect();
    regions.sort_unstable();
    for pair in regions.windows(2) {
        let [(low, size), (high, other)] = pair else { continue };
        ensure!(
            low.checked_add(*size).is_some_and(|end| end <= *high),
            "{size} bytes at {low:#x} and {other} bytes at {high:#x} are alive and overlap"
        );
    }
    Ok(())
}

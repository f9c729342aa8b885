//! Checks of heaps: creating them, committing parts of them, and their contents.
#![forbid(unsafe_code)]

use std::ops::Range;

use super::bytes::{self, first_other};
use super::{
    Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory, Verdict, during, ensure, heap,
    heap_size,
};

pub(super) fn fixed(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    for size in [heap_size(&limits), limits.granularity] {
        // The heap is created again, because a device that does not give dropped heaps back fails at last.
        for _ in 0..3 {
            let memory = heap(device, size, HeapKind::Fixed)?;
            well_formed(&*memory, size, &limits)?;
            let committed = bytes::commit(&*memory, 0..limits.granularity.min(size));
            ensure!(committed.is_err(), "a fixed heap could be committed, though all of it is committed");
        }
    }
    Ok(())
}

fn well_formed(memory: &dyn Memory, size: u64, limits: &DeviceLimits) -> Verdict {
    let (address, got) = (memory.device_address(), memory.size());
    ensure!(got == size, "a heap of {size} bytes was requested, and the device gave {got}");
    ensure!(
        address.is_multiple_of(limits.alignment),
        "a heap at {address:#x} is not on the device's alignment of {} bytes",
        limits.alignment
    );
    ensure!(address.checked_add(size).is_some(), "a heap of {size} bytes at {address:#x} wraps around");
    let visible = memory.host_ptr().is_some();
    ensure!(
        visible == limits.host_visible,
        "host_visible is {}, but a heap's CPU pointer is {:?}",
        limits.host_visible,
        memory.host_ptr()
    );
    Ok(())
}

pub(super) fn elastic(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    let step = limits.granularity;
    if !limits.elastic {
        let request = HeapRequest::elastic(step, "elastic");
        return match device.create_heap(&request) {
            Err(DeviceError::Unsupported { .. }) => Ok(()),
            Err(error) => Err(format!("an elastic heap was refused as {error:?}, not as Unsupported")),
            Ok(_) => Err("the limits say that there are no elastic heaps, but the device created one".into()),
        };
    }
    // Addresses cost no memory, so the heap has far more of them than are committed.
    let size = (step << 10).min(limits.largest_heap / step * step);
    let memory = heap(device, size, HeapKind::Elastic)?;
    well_formed(&*memory, size, &limits)?;
    let pages = (size / step).min(4);
    let page = |number: u64| number * step..(number + 1) * step;
    let last = size - step..size;

    commit(&*memory, 0..pages * step)?;
    if pages * step <= last.start {
        commit(&*memory, last.clone())?;
    }
    for (number, byte) in (0..pages).zip(1..) {
        fill_and_look(&*memory, page(number), byte)?;
    }
    // One page is decommitted and committed again. Its neighbours do not change.
    for round in 0..3 {
        let middle = page(pages / 2);
        decommit(&*memory, middle.clone())?;
        commit(&*memory, middle.clone())?;
        if limits.zeroed {
            expect(&*memory, middle.clone(), 0, "a page committed anew, of zeroed memory")?;
        }
        fill_and_look(&*memory, middle, 0x80 + round)?;
        for (number, byte) in (0..pages).zip(1..).filter(|(number, _)| *number != pages / 2) {
            expect(&*memory, page(number), byte, "a page beside one that was decommitted")?;
        }
    }
    decommit(&*memory, 0..pages * step)?;
    commit(&*memory, page(0))?;
    during("warming a page committed anew", bytes::warm(&*memory, page(0)))?;
    // The heap is dropped with pages committed. They go back with it.
    Ok(())
}

fn commit(memory: &dyn Memory, range: Range<u64>) -> Verdict {
    during(format_args!("committing {range:?}"), bytes::commit(memory, range.clone()))
}

fn decommit(memory: &dyn Memory, range: Range<u64>) -> Verdict {
    during(format_args!("decommitting {range:?}"), bytes::decommit(memory, range.clone()))
}

pub(super) fn warm(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    let size = heap_size(&limits);
    let memory = heap(device, size, HeapKind::Fixed)?;
    let half = size / 2 / limits.alignment * limits.alignment;
    for range in [0..size, 0..size, half..size, 0..limits.alignment] {
        during(format_args!("warming {range:?} of a heap"), bytes::warm(&*memory, range.clone()))?;
    }
    fill_and_look(&*memory, 0..size, 0x5a)
}

pub(super) fn fill(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    let size = heap_size(&limits);
    let memory = heap(device, size, HeapKind::Fixed)?;
    fill_and_look(&*memory, 0..size, 0x11)?;
    // Ranges start on the device's alignment, but end where the caller's bytes do.
    let start = limits.alignment;
    for (len, byte) in [1, 3, 255, size / 2 + 1].into_iter().zip(0x20..) {
        let range = start..(start + len).min(size);
        fill_and_look(&*memory, range.clone(), byte)?;
        expect(&*memory, 0..start, 0x11, "the bytes before a fill")?;
        expect(&*memory, range.end..size, 0x11, "the bytes after a fill")?;
        fill_and_look(&*memory, range, 0x11)?;
    }
    Ok(())
}

/// Fills a range and reads it back.
pub(super) fn fill_and_look(memory: &dyn Memory, range: Range<u64>, byte: u8) -> Verdict {
    during(format_args!("filling {range:?}"), bytes::fill(memory, range.clone(), byte))?;
    expect(memory, range, byte, "the bytes of a fill")
}

/// Returns an error unless every byte of a range is `byte`, where the CPU can access the memory.
pub(super) fn expect(memory: &dyn Memory, range: Range<u64>, byte: u8, what: &str) -> Verdict {
    match first_other(memory, range, byte) {
        None => Ok(()),
        Some((offset, seen)) => {
            Err(format!("{what} should be {byte:#04x}, but at offset {offset} there is {seen:#04x}"))
        }
    }
}

//! Checks of a device's limits, and of the errors past them.
#![forbid(unsafe_code)]

use super::{
    Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory, Verdict, ensure, heap, heap_size,
};

/// The largest budget that a check spends completely. It does not do so with a real device's memory.
const SPENDABLE: u64 = 1 << 30;

/// The number of times that a refusal is repeated. A device that loses what it refuses soon has nothing left.
const REFUSALS: usize = 32;

pub(super) fn sane(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    ensure!(!device.name().is_empty(), "the device has no name");
    for (name, value) in [("alignment", limits.alignment), ("granularity", limits.granularity)] {
        ensure!(value.is_power_of_two(), "{name} is {value}, which is not a power of two");
    }
    let DeviceLimits { alignment, granularity, largest_heap, largest_buffer, .. } = limits;
    ensure!(
        granularity >= alignment,
        "granularity {granularity} is less than alignment {alignment}: heaps could not start on their steps"
    );
    ensure!(largest_heap >= granularity, "the largest heap, {largest_heap}, is less than one granularity");
    ensure!(largest_buffer >= alignment, "the largest buffer, {largest_buffer}, is less than one alignment");
    ensure!(limits.budget != Some(0), "the budget is 0 bytes");

    let mut again = device.limits();
    again.available = limits.available;
    ensure!(again == limits, "limits changed from {limits:?} to {again:?}");
    Ok(())
}

pub(super) fn too_large(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    let heap_past = limits.largest_heap.checked_add(limits.granularity);
    for kind in [HeapKind::Fixed, HeapKind::Elastic] {
        if kind == HeapKind::Elastic && !limits.elastic {
            continue;
        }
        for size in heap_past.into_iter().chain([u64::MAX / limits.granularity * limits.granularity]) {
            if size <= limits.largest_heap {
                continue;
            }
            let request = HeapRequest::new(size, kind, "too large");
            refused(device.create_heap(&request), size, limits.largest_heap, &format!("a {kind:?} heap"))?;
        }
    }
    for size in limits.largest_buffer.checked_add(1).into_iter().chain([u64::MAX]) {
        if size > limits.largest_buffer {
            let answer = device.allocate(size, limits.alignment);
            refused(answer, size, limits.largest_buffer, "a buffer")?;
        }
    }
    Ok(())
}

fn refused(answer: Result<Box<dyn Memory>, DeviceError>, size: u64, limit: u64, what: &str) -> Verdict {
    match answer {
        Err(DeviceError::TooLarge { requested, largest }) if requested == size && largest == limit => Ok(()),
        Err(error) => Err(format!(
            "{what} of {size} bytes, past the limit of {limit}, was refused as {error:?}, not as TooLarge \
             with these figures"
        )),
        Ok(memory) => Err(format!("{what} of {size} bytes, past the limit of {limit}, gave {memory:?}")),
    }
}

pub(super) fn out_of_memory(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    let Some(most) = limits.available.into_iter().chain(limits.budget).max() else { return Ok(()) };
    let spendable = limits.budget.filter(|budget| *budget <= SPENDABLE);
    let before = spendable.map(|budget| fill_up(device, budget)).transpose()?;
    // The request is twice the limit, so that memory freed meanwhile makes no difference.
    let size = most.saturating_mul(2).checked_next_multiple_of(limits.granularity);
    if let Some(size) = size.filter(|size| *size <= limits.largest_heap) {
        for _ in 0..REFUSALS {
            short(device, size)?;
        }
    }
    drop(heap(device, heap_size(&limits).min(most), HeapKind::Fixed)?);
    let after = spendable.map(|budget| fill_up(device, budget)).transpose()?;
    ensure!(
        before == after,
        "of heaps of {} bytes {before:?} fitted the budget before some requests were refused, and {after:?} \
         afterwards",
        heap_size(&limits)
    );
    Ok(())
}

/// Requests a heap that the device cannot have.
fn short(device: &dyn Device, size: u64) -> Verdict {
    let request = HeapRequest::fixed(size, "too much");
    match device.create_heap(&request) {
        Err(DeviceError::OutOfMemory { requested, .. }) if requested == size => Ok(()),
        // Elastic heaps may be longer than the device's memory. Fixed heaps then have a lower limit.
        Err(DeviceError::TooLarge { requested, largest }) if requested == size && largest < size => Ok(()),
        Err(error) => Err(format!(
            "a heap of {size} bytes, more than the device has, was refused as {error:?}, not as OutOfMemory \
             with this figure"
        )),
        Ok(memory) => Err(format!("a heap of {size} bytes, more than the device has, gave {memory:?}")),
    }
}

/// Spends the whole budget, and returns the number of heaps that it gave.
fn fill_up(device: &dyn Device, budget: u64) -> Result<usize, String> {
    let size = heap_size(&device.limits());
    let request = HeapRequest::fixed(size, "filler");
    let mut held = Vec::new();
    while let Ok(memory) = device.create_heap(&request) {
        held.push(memory);
        let bytes = held.len() as u64 * size;
        ensure!(bytes <= budget, "{bytes} bytes could be taken of a budget of {budget}");
    }
    short(device, size)?;
    Ok(held.len())
}

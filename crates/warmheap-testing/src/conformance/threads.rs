//! Checks of calls from several threads.
#![forbid(unsafe_code)]

use std::thread;

use super::buffers::apart;
use super::bytes;
use super::heaps::{expect, fill_and_look};
use super::{Device, DeviceLimits, HeapKind, Memory, Verdict, buffer, during, heap, words};

const THREADS: u64 = 4;
const ROUNDS: u64 = 8;

pub(super) fn concurrent(device: &dyn Device) -> Verdict {
    let limits = device.limits();
    let step = limits.granularity;
    let kind = if limits.elastic { HeapKind::Elastic } else { HeapKind::Fixed };
    let shared = heap(device, step * THREADS, kind)?;
    let shared = &*shared;
    let held = together(|number| {
        one_heap(shared, kind, number * step..(number + 1) * step, number as u8 + 1)?;
        own_memory(device, &limits, number)
    })?;
    let held: Vec<_> = held.into_iter().flatten().collect();
    // Other threads took this memory, and this thread frees it.
    apart(&held)
}

/// Runs `work` on several threads at once.
fn together<T: Send>(work: impl Fn(u64) -> Result<T, String> + Sync) -> Result<Vec<T>, String> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| thread::Builder::new().spawn_scoped(scope, move || work(number)))
            .collect();
        let join = |thread: std::io::Result<thread::ScopedJoinHandle<'_, Result<T, String>>>| {
            let thread = thread.map_err(|error| format!("a thread could not be started: {error}"))?;
            thread.join().unwrap_or_else(|panic| Err(format!("the device panicked: {}", words(&*panic))))
        };
        threads.into_iter().map(join).collect()
    })
}

/// Uses a part of a heap while other threads use theirs.
fn one_heap(memory: &dyn Memory, kind: HeapKind, part: std::ops::Range<u64>, byte: u8) -> Verdict {
    for _ in 0..ROUNDS {
        if kind == HeapKind::Elastic {
            during(format_args!("committing {part:?}"), bytes::commit(memory, part.clone()))?;
        }
        during(format_args!("warming {part:?}"), bytes::warm(memory, part.clone()))?;
        fill_and_look(memory, part.clone(), byte)?;
        if kind == HeapKind::Elastic {
            during(format_args!("decommitting {part:?}"), bytes::decommit(memory, part.clone()))?;
        }
    }
    Ok(())
}

/// Creates and frees heaps and buffers, and returns the last of them.
fn own_memory(
    device: &dyn Device,
    limits: &DeviceLimits,
    number: u64,
) -> Result<Vec<Box<dyn Memory>>, String> {
    let byte = 0x40 + number as u8;
    let mut held = Vec::new();
    for round in 0..ROUNDS {
        let size = 4096 * (number + 1) + round;
        let small = buffer(device, size, limits.alignment)?;
        let large = heap(device, limits.granularity, HeapKind::Fixed)?;
        fill_and_look(&*small, 0..size, byte)?;
        fill_and_look(&*large, 0..limits.granularity, byte)?;
        expect(&*small, 0..size, byte, "a buffer after another thread's work")?;
        held = vec![small, large];
    }
    Ok(held)
}

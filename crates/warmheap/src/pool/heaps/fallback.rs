//! Buffers straight from the device, for requests that no heap can serve. This module owns the live fallback
//! buffers and their records. It must never call the device while it holds its lock.
#![forbid(unsafe_code)]

use std::sync::Arc;

use slab::Slab;

use crate::device::{DeviceError, Memory};
use crate::pool::accounting::account::UpTo;
use crate::pool::accounting::device_calls::{DeviceCalls, Held};
use crate::pool::heaps::records::{AllocRecord, RecordTable};
use crate::pool::heaps::span::{FALLBACK, Span, SpanHead};
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU64, Mutex, lock};

/// The fallback buffers that are alive.
#[derive(Debug, Default)]
pub(crate) struct Fallback {
    state: Mutex<State>,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    held: Slab<Held>,
    records: RecordTable,
}

impl Fallback {
    pub(crate) fn allocate(
        &self,
        driver: &DeviceCalls,
        size: u64,
        align: u64,
        up_to: UpTo,
    ) -> Result<Span, DeviceError> {
        let held = driver.allocate(size, align, up_to)?;
        self.bytes.fetch_add(held.size, Relaxed);
        let address = held.address;
        let mut state = lock(&self.state);
        let index = state.held.insert(held) as u32;
        let start = SpanHead::new(state.records.record(index), address);
        Ok(Span::new(start, 0, FALLBACK, u16::MAX))
    }

    /// Gives a buffer back to the device. The buffer is gone even if the device returns an error.
    pub(crate) fn free(&self, driver: &DeviceCalls, span: &Span) -> Result<(), DeviceError> {
        let held = lock(&self.state).held.try_remove(span.record().block() as usize);
        let Some(Held { memory, size, .. }) = held else { return Ok(()) };
        self.bytes.fetch_sub(size, Relaxed);
        driver.give_back(memory, size)
    }

    /// The memory of a buffer and its address.
    pub(crate) fn memory(&self, span: &Span) -> Option<(Arc<dyn Memory>, u64)> {
        let state = lock(&self.state);
        let Held { memory, address, .. } = state.held.get(span.record().block() as usize)?;
        Some((Arc::clone(memory), *address))
    }

    /// The bytes that the device gave for a buffer.
    pub(crate) fn size(&self, span: &Span) -> u64 {
        lock(&self.state).held.get(span.record().block() as usize).map_or(0, |held| held.size)
    }

    /// The bytes held from the device.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.state).held.len()
    }

    /// Shows the record of every live fallback buffer.
    pub(crate) fn for_each_record(&self, show: impl FnMut(&AllocRecord)) {
        let state = lock(&self.state);
        state.held.iter().filter_map(|(index, _)| state.records.get(index as u32)).for_each(show);
    }
}

//! Buffers straight from the device, for requests that no heap can serve.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use slab::Slab;

use super::account::UpTo;
use super::driver::Driver;
use super::ledger::{Ledger, Tenant};
use super::lock;
use super::range::{FALLBACK, Range};
use crate::device::{DeviceError, Memory};

/// The fallback buffers that are alive.
#[derive(Debug, Default)]
pub(crate) struct Fallback {
    memories: Mutex<Slab<Arc<dyn Memory>>>,
    ledger: Ledger,
    bytes: AtomicU64,
}

impl Fallback {
    pub(crate) fn allocate(
        &self,
        driver: &Driver,
        size: u64,
        align: u64,
        up_to: UpTo,
    ) -> Result<Range, DeviceError> {
        let memory = driver.allocate(size, align, up_to)?;
        self.bytes.fetch_add(memory.size(), Relaxed);
        let address = memory.address();
        let index = lock(&self.memories).insert(memory) as u32;
        Ok(Range::new(self.ledger.tenant(index), address, 0, FALLBACK, u16::MAX))
    }

    pub(crate) fn free(&self, driver: &Driver, range: &Range) {
        let memory = lock(&self.memories).try_remove(range.tenant().block() as usize);
        if let Some(memory) = memory {
            self.bytes.fetch_sub(memory.size(), Relaxed);
            driver.free(memory);
        }
    }

    pub(crate) fn memory(&self, range: &Range) -> Option<Arc<dyn Memory>> {
        lock(&self.memories).get(range.tenant().block() as usize).cloned()
    }

    /// Bytes held from the device.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.memories).len()
    }

    /// The record of every live fallback buffer.
    pub(crate) fn tenants(&self) -> Vec<&Tenant> {
        lock(&self.memories).iter().map(|(index, _)| self.ledger.tenant(index as u32)).collect()
    }
}

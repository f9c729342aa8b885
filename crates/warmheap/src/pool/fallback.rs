//! Buffers straight from the device, for requests that no heap can serve.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use slab::Slab;

use super::account::UpTo;
use super::driver::Driver;
use super::ledger::{Ledger, Tenant};
use super::lock;
use super::range::{FALLBACK, Range, Start};
use crate::device::{DeviceError, Memory};

/// The fallback buffers that are alive.
#[derive(Debug, Default)]
pub(crate) struct Fallback {
    books: Mutex<Books>,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Books {
    memories: Slab<Arc<dyn Memory>>,
    ledger: Ledger,
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
        let mut books = lock(&self.books);
        let index = books.memories.insert(memory) as u32;
        let start = Start::new(books.ledger.tenant(index), address);
        Ok(Range::new(start, 0, FALLBACK, u16::MAX))
    }

    pub(crate) fn free(&self, driver: &Driver, range: &Range) {
        let memory = lock(&self.books).memories.try_remove(range.tenant().block() as usize);
        if let Some(memory) = memory {
            self.bytes.fetch_sub(memory.size(), Relaxed);
            driver.free(memory);
        }
    }

    pub(crate) fn memory(&self, range: &Range) -> Option<Arc<dyn Memory>> {
        lock(&self.books).memories.get(range.tenant().block() as usize).cloned()
    }

    /// Bytes held from the device.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.books).memories.len()
    }

    /// Shows the record of every live fallback buffer.
    pub(crate) fn for_each_tenant(&self, show: impl FnMut(&Tenant)) {
        let books = lock(&self.books);
        books.memories.iter().filter_map(|(index, _)| books.ledger.get(index as u32)).for_each(show);
    }
}

//! The device as the pool calls it: every call counted, every byte held from it accounted for.
//!
//! Nothing else in the pool calls a device, so `device_calls` and the reserved bytes cannot drift.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::device::{Contents, Device, DeviceError, HeapKind, HeapRequest, Limits, Memory};

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct Driver {
    device: Arc<dyn Device>,
    limits: Limits,
    calls: AtomicU64,
    reserved: AtomicU64,
    peak_reserved: AtomicU64,
}

impl Driver {
    pub(crate) fn new(device: Arc<dyn Device>) -> Self {
        let limits = device.limits();
        Self {
            device,
            limits,
            calls: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            peak_reserved: AtomicU64::new(0),
        }
    }

    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The device's fixed facts, as they were at start-up.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Bytes held from the device.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved.load(Relaxed)
    }

    pub(crate) fn peak_reserved(&self) -> u64 {
        self.peak_reserved.load(Relaxed)
    }

    pub(crate) fn reset_peak(&self) {
        self.peak_reserved.store(self.reserved(), Relaxed);
    }

    pub(crate) fn create_heap(&self, request: &HeapRequest) -> Result<Arc<dyn Memory>, DeviceError> {
        self.count();
        let memory = self.device.create_heap(request)?;
        if request.kind == HeapKind::Fixed {
            self.took(memory.size());
        }
        Ok(memory.into())
    }

    /// Drops a heap of which `committed` bytes are backed.
    pub(crate) fn destroy_heap(&self, memory: Arc<dyn Memory>, committed: u64) {
        self.count();
        drop(memory);
        self.gave(committed);
    }

    pub(crate) fn commit(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.count();
        memory.commit(offset..offset + len)?;
        self.took(len);
        Ok(())
    }

    pub(crate) fn decommit(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.count();
        memory.decommit(offset..offset + len)?;
        self.gave(len);
        Ok(())
    }

    pub(crate) fn warm(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.count();
        memory.warm(offset..offset + len)
    }

    pub(crate) fn fill(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.count();
        memory.fill(offset..offset + len, 0)
    }

    pub(crate) fn set_volatile(&self, memory: &dyn Memory, volatile: bool) -> Result<Contents, DeviceError> {
        self.count();
        memory.set_volatile(volatile)
    }

    pub(crate) fn allocate(&self, size: u64, align: u64) -> Result<Arc<dyn Memory>, DeviceError> {
        self.count();
        let memory = self.device.allocate(size, align)?;
        self.took(memory.size());
        Ok(memory.into())
    }

    pub(crate) fn free(&self, memory: Arc<dyn Memory>) {
        self.count();
        let size = memory.size();
        drop(memory);
        self.gave(size);
    }

    fn count(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    fn took(&self, bytes: u64) {
        let reserved = self.reserved.fetch_add(bytes, Relaxed) + bytes;
        self.peak_reserved.fetch_max(reserved, Relaxed);
    }

    fn gave(&self, bytes: u64) {
        self.reserved.fetch_sub(bytes, Relaxed);
    }
}

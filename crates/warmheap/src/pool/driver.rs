//! The device as the pool calls it: every call counted, every byte and object held from it accounted for.
//!
//! Nothing else in the pool calls a device, so `device_calls` and the account cannot drift.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::account::{Account, Claim, UpTo};
use crate::config;
use crate::device::{Contents, Device, DeviceError, HeapKind, HeapRequest, Limits, Memory};

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct Driver {
    device: Arc<dyn Device>,
    limits: Limits,
    calls: AtomicU64,
    account: Account,
}

impl Driver {
    pub(crate) fn new(device: Arc<dyn Device>, allowed: &config::Limits) -> Self {
        let limits = device.limits();
        Self { device, limits, calls: AtomicU64::new(0), account: Account::new(allowed, limits.budget) }
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

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Bytes held from the device.
    pub(crate) fn reserved(&self) -> u64 {
        self.account.bytes()
    }

    pub(crate) fn create_heap(
        &self,
        request: &HeapRequest,
        up_to: UpTo,
    ) -> Result<Arc<dyn Memory>, DeviceError> {
        let fixed = request.kind == HeapKind::Fixed;
        let claim = self.account.claim(if fixed { request.size } else { 0 }, 1, up_to)?;
        self.count();
        let memory = self.device.create_heap(request)?;
        self.take_in(memory, fixed, claim)
    }

    pub(crate) fn allocate(
        &self,
        size: u64,
        align: u64,
        up_to: UpTo,
    ) -> Result<Arc<dyn Memory>, DeviceError> {
        let claim = self.account.claim(size, 1, up_to)?;
        self.count();
        let memory = self.device.allocate(size, align)?;
        self.take_in(memory, true, claim)
    }

    /// Accounts for memory from the device, or drops it.
    fn take_in(
        &self,
        memory: Box<dyn Memory>,
        committed: bool,
        claim: Claim<'_>,
    ) -> Result<Arc<dyn Memory>, DeviceError> {
        match claim.settle(if committed { memory.size() } else { 0 }) {
            Ok(()) => Ok(memory.into()),
            Err(error) => {
                self.count();
                Err(error)
            }
        }
    }

    /// Drops a heap of which `committed` bytes are backed.
    pub(crate) fn destroy_heap(&self, memory: Arc<dyn Memory>, committed: u64) {
        self.count();
        drop(memory);
        self.account.give(committed, 1);
    }

    pub(crate) fn free(&self, memory: Arc<dyn Memory>) {
        let size = memory.size();
        self.destroy_heap(memory, size);
    }

    pub(crate) fn commit(
        &self,
        memory: &dyn Memory,
        offset: u64,
        len: u64,
        up_to: UpTo,
    ) -> Result<(), DeviceError> {
        let claim = self.account.claim(len, 0, up_to)?;
        self.count();
        memory.commit(offset..offset + len)?;
        claim.settle(len)
    }

    pub(crate) fn decommit(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.count();
        memory.decommit(offset..offset + len)?;
        self.account.give(len, 0);
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

    /// Copies `len` bytes from one piece of memory to another, or to another part of the same.
    pub(crate) fn copy(
        &self,
        (from, from_offset): (&dyn Memory, u64),
        (to, to_offset): (&dyn Memory, u64),
        len: u64,
    ) -> Result<(), DeviceError> {
        self.count();
        to.copy_from(to_offset, from, from_offset..from_offset + len)
    }

    pub(crate) fn set_volatile(&self, memory: &dyn Memory, volatile: bool) -> Result<Contents, DeviceError> {
        self.count();
        memory.set_volatile(volatile)
    }

    fn count(&self) {
        self.calls.fetch_add(1, Relaxed);
    }
}

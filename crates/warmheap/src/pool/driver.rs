//! The device as the pool calls it: every call counted, every byte and object held from it accounted for.
//!
//! Nothing else in the pool calls a device, so `device_calls` and the account cannot drift. What the
//! unsafe calls of [`Memory`] ask for, the pool's books give: a range is cut for one holder at a time,
//! and only that holder's request, or whoever takes it back, brings it here.
#![allow(unsafe_code)]

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

    /// Bytes held from the device. What calls are asking it for at this moment is not among them.
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
        self.take_in(memory, request.size, fixed, claim)
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
        self.take_in(memory, size, true, claim)
    }

    /// Accounts for memory from the device, or drops it. Memory shorter than `asked` would have buffers end
    /// past it.
    fn take_in(
        &self,
        memory: Box<dyn Memory>,
        asked: u64,
        committed: bool,
        claim: Claim<'_>,
    ) -> Result<Arc<dyn Memory>, DeviceError> {
        if memory.size() < asked {
            self.count();
            let reason = format!("{} bytes came where {asked} were asked for", memory.size());
            return Err(DeviceError::Failed { call: "allocate", reason });
        }
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
        // SAFETY: the books plan commits in voids alone, one thread at a time.
        unsafe { memory.commit(offset..offset + len) }?;
        claim.settle(len)
    }

    pub(crate) fn decommit(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.count();
        // SAFETY: the range was cut out of free blocks, so it is committed and nobody holds it.
        unsafe { memory.decommit(offset..offset + len) }?;
        self.account.give(len, 0);
        Ok(())
    }

    pub(crate) fn warm(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.count();
        // SAFETY: heaps are warmed before the pool has served anyone.
        unsafe { memory.warm(offset..offset + len) }
    }

    pub(crate) fn fill(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        self.count();
        // SAFETY: the range is out, and not yet or no longer in a buffer's hands.
        unsafe { memory.fill(offset..offset + len, 0) }
    }

    /// Copies `len` bytes from one piece of memory to another, or to another part of the same.
    pub(crate) fn copy(
        &self,
        (from, from_offset): (&dyn Memory, u64),
        (to, to_offset): (&dyn Memory, u64),
        len: u64,
    ) -> Result<(), DeviceError> {
        self.count();
        // SAFETY: the destination is out and in no buffer yet; the source is the caller's buffer, to be
        // grown or moved, which it holds alone.
        unsafe { to.copy_from(to_offset, from, from_offset..from_offset + len) }
    }

    pub(crate) fn set_volatile(&self, memory: &dyn Memory, volatile: bool) -> Result<Contents, DeviceError> {
        self.count();
        // SAFETY: heaps at rest are in no slot, so nothing of them is held.
        unsafe { memory.set_volatile(volatile) }
    }

    fn count(&self) {
        self.calls.fetch_add(1, Relaxed);
    }
}

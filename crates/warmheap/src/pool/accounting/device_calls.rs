//! The device as the pool calls it. This module counts every call, and accounts for every byte and object
//! that the pool holds.
//!
//! No other part of the pool may call a device, so `device_calls` and the account cannot drift. A call that
//! panics counts as failed. What the device says of its memory is read once, when the memory comes.
//!
//! The unsafe calls of [`Memory`] have requirements. The pool's metadata meets them: a span is cut for one
//! holder at a time, and only that holder's request, or the thread that takes the span back, brings it here.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::config;
use crate::device::{
    Contents, Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory, ObjectCount,
};
use crate::pool::accounting::account::{Account, Claim, UpTo};
use crate::pool::accounting::foreign;

/// Memory that the device gave, with the address and size that the device named.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) memory: Arc<dyn Memory>,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

impl Held {
    pub(crate) fn new(memory: Box<dyn Memory>) -> Self {
        let (address, size) = (memory.device_address(), memory.size());
        Self { memory: memory.into(), address, size }
    }
}

/// The device's fixed facts.
pub(crate) fn limits(device: &dyn Device) -> Result<DeviceLimits, DeviceError> {
    foreign::call("limits", || Ok(device.limits()))
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct DeviceCalls {
    device: Arc<dyn Device>,
    limits: DeviceLimits,
    calls: AtomicU64,
    account: Account,
}

impl DeviceCalls {
    /// # Errors
    /// The device panics when it is asked for its limits.
    pub(crate) fn new(device: Arc<dyn Device>, allowed: &config::Limits) -> Result<Self, DeviceError> {
        let limits = limits(&*device)?;
        let account = Account::new(allowed, limits.budget);
        Ok(Self { device, limits, calls: AtomicU64::new(0), account })
    }

    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// The device's fixed facts, as they were at start-up.
    pub(crate) fn limits(&self) -> &DeviceLimits {
        &self.limits
    }

    /// The driver objects that the device counts; none if it does not say.
    pub(crate) fn objects(&self) -> ObjectCount {
        let objects = foreign::call("objects", || Ok(self.device.objects()));
        objects.ok().flatten().unwrap_or(ObjectCount { live: 0, limit: 0 })
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// The bytes held from the device. They do not include what calls are asking of it at this moment.
    pub(crate) fn reserved(&self) -> u64 {
        self.account.bytes()
    }

    pub(crate) fn create_heap(&self, request: &HeapRequest, up_to: UpTo) -> Result<Held, DeviceError> {
        let fixed = request.kind == HeapKind::Fixed;
        let claim = self.account.claim(if fixed { request.size } else { 0 }, 1, up_to)?;
        let held = self.call("create_heap", || self.device.create_heap(request).map(Held::new))?;
        self.take_in(held, request.size, fixed, claim)
    }

    pub(crate) fn allocate(&self, size: u64, align: u64, up_to: UpTo) -> Result<Held, DeviceError> {
        let claim = self.account.claim(size, 1, up_to)?;
        let held = self.call("allocate", || self.device.allocate(size, align).map(Held::new))?;
        self.take_in(held, size, true, claim)
    }

    /// Accounts for memory from the device, or drops it. It drops memory shorter than `asked`, because
    /// buffers would end past it.
    fn take_in(
        &self,
        held: Held,
        asked: u64,
        committed: bool,
        claim: Claim<'_>,
    ) -> Result<Held, DeviceError> {
        if held.size < asked {
            self.count();
            let reason = format!("{} bytes came where {asked} were asked for", held.size);
            return foreign::end(held).and(Err(DeviceError::Failed { call: "allocate", reason }));
        }
        match claim.settle(if committed { held.size } else { 0 }) {
            Ok(()) => Ok(held),
            Err(error) => {
                self.count();
                foreign::end(held).and(Err(error))
            }
        }
    }

    /// Drops memory of which `committed` bytes are backed. The memory is gone even if the device returns an
    /// error.
    pub(crate) fn give_back(&self, memory: Arc<dyn Memory>, committed: u64) -> Result<(), DeviceError> {
        self.count();
        let ended = foreign::end(memory);
        self.account.give(committed, 1);
        ended
    }

    pub(crate) fn commit(
        &self,
        memory: &dyn Memory,
        offset: u64,
        len: u64,
        up_to: UpTo,
    ) -> Result<(), DeviceError> {
        let claim = self.account.claim(len, 0, up_to)?;
        // SAFETY: the plan commits inside decommitted blocks alone, one thread at a time.
        self.call("commit", || unsafe { memory.commit(offset..offset + len) })?;
        claim.settle(len)
    }

    pub(crate) fn decommit(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        // SAFETY: the range was cut out of free blocks, so it is committed and in no buffer.
        self.call("decommit", || unsafe { memory.decommit(offset..offset + len) })?;
        self.account.give(len, 0);
        Ok(())
    }

    pub(crate) fn warm(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        // SAFETY: heaps are warmed before the pool has served a request.
        self.call("warm", || unsafe { memory.warm(offset..offset + len) })
    }

    pub(crate) fn fill(&self, memory: &dyn Memory, offset: u64, len: u64) -> Result<(), DeviceError> {
        // SAFETY: the span is handed out, and not yet or no longer in a buffer.
        self.call("fill", || unsafe { memory.fill(offset..offset + len, 0) })
    }

    /// Copies `len` bytes from one piece of memory to another, or to another part of the same.
    pub(crate) fn copy(
        &self,
        (from, from_offset): (&dyn Memory, u64),
        (to, to_offset): (&dyn Memory, u64),
        len: u64,
    ) -> Result<(), DeviceError> {
        // SAFETY: the destination is handed out and in no buffer yet. The source is the caller's buffer, to
        // be grown or moved, which the caller holds alone.
        self.call("copy_from", || unsafe { to.copy_from(to_offset, from, from_offset..from_offset + len) })
    }

    pub(crate) fn set_volatile(&self, memory: &dyn Memory, volatile: bool) -> Result<Contents, DeviceError> {
        // SAFETY: a purgeable heap is in no arena, so no span of it is held.
        self.call("set_volatile", || unsafe { memory.set_volatile(volatile) })
    }

    fn call<R>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<R, DeviceError>,
    ) -> Result<R, DeviceError> {
        self.count();
        foreign::call(name, work)
    }

    fn count(&self) {
        self.calls.fetch_add(1, Relaxed);
    }
}

//! A mapping, with the account of the bytes it holds of the host.
#![allow(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::mapping::Mapping;
use super::{Account, GRANULARITY};
use crate::device::memory::{steps_within, within};
use crate::device::{DeviceError, HeapKind, Memory};

#[derive(Debug)]
pub(super) struct HostMemory {
    mapping: Mapping,
    kind: HeapKind,
    account: Arc<Account>,
    /// The bytes taken from the account.
    open: AtomicU64,
}

impl HostMemory {
    pub(super) fn new(mapping: Mapping, kind: HeapKind, account: Arc<Account>) -> Self {
        Self { mapping, kind, account, open: AtomicU64::new(0) }
    }

    /// Takes the bytes from the account and makes the pages usable.
    pub(super) fn open(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let bytes = within(&range, self.mapping.size())?;
        self.account.take(bytes)?;
        let opened = self.mapping.open(range);
        match opened {
            Ok(()) => self.open.fetch_add(bytes, Relaxed),
            Err(_) => {
                self.account.give(bytes);
                0
            }
        };
        opened
    }

    fn must_be_elastic(&self, what: &'static str) -> Result<(), DeviceError> {
        if self.kind == HeapKind::Elastic { Ok(()) } else { Err(DeviceError::Unsupported { what }) }
    }
}

// SAFETY: a mapping's place and length are fixed. It belongs to this value alone and stays until the drop.
unsafe impl Memory for HostMemory {
    fn device_address(&self) -> u64 {
        self.mapping.start().as_ptr() as u64
    }

    fn size(&self) -> u64 {
        self.mapping.size()
    }

    fn host_ptr(&self) -> Option<NonNull<u8>> {
        Some(self.mapping.start())
    }

    unsafe fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.must_be_elastic("committing pages of a fixed heap")?;
        steps_within(&range, self.mapping.size(), GRANULARITY)?;
        self.open(range)
    }

    unsafe fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.must_be_elastic("decommitting pages of a fixed heap")?;
        let bytes = steps_within(&range, self.mapping.size(), GRANULARITY)?;
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.mapping.close(range) }?;
        self.open.fetch_sub(bytes, Relaxed);
        self.account.give(bytes);
        Ok(())
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.mapping.populate(range) }
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.mapping.fill(range, byte) }
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let from = from.as_any().downcast_ref::<Self>();
        let from = from.ok_or(DeviceError::ForeignMemory { device: "host" })?;
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.mapping.copy_from(at, &from.mapping, range) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        self.account.give(self.open.load(Relaxed));
    }
}

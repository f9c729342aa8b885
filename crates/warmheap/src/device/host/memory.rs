//! A mapping with its account: what somebody holds of the host.

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Account;
use super::mapping::Mapping;
use crate::device::{DeviceError, HeapKind, Memory};

#[derive(Debug)]
pub(super) struct HostMemory {
    mapping: Mapping,
    kind: HeapKind,
    account: Arc<Account>,
    /// Bytes taken from the account.
    open: AtomicU64,
}

impl HostMemory {
    pub(super) fn new(mapping: Mapping, kind: HeapKind, account: Arc<Account>) -> Self {
        Self { mapping, kind, account, open: AtomicU64::new(0) }
    }

    /// Takes the bytes from the account and makes the pages usable.
    pub(super) fn open(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let bytes = range.end - range.start;
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

impl Memory for HostMemory {
    fn address(&self) -> u64 {
        self.mapping.start().as_ptr() as u64
    }

    fn size(&self) -> u64 {
        self.mapping.size()
    }

    fn host(&self) -> Option<NonNull<u8>> {
        Some(self.mapping.start())
    }

    fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.must_be_elastic("committing pages of a fixed heap")?;
        self.open(range)
    }

    fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.must_be_elastic("decommitting pages of a fixed heap")?;
        let bytes = range.end - range.start;
        self.mapping.close(range)?;
        self.open.fetch_sub(bytes, Relaxed);
        self.account.give(bytes);
        Ok(())
    }

    fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.mapping.populate(range)
    }

    fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        self.mapping.fill(range, byte);
        Ok(())
    }

    fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let Some(from) = from.as_any().downcast_ref::<Self>() else {
            let reason = "the source is another device's".into();
            return Err(DeviceError::Failed { call: "copy", reason });
        };
        self.mapping.copy_from(at, &from.mapping, range);
        Ok(())
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

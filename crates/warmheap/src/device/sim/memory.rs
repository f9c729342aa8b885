//! A simulated heap or buffer.
#![allow(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use super::pages::Pages;
use super::{Call, State};
use crate::device::memory::{copy_within, steps_within, within};
use crate::device::{Contents, DeviceError, HeapKind, Memory};

#[derive(Debug)]
pub(super) struct SimMemory {
    state: Arc<State>,
    address: u64,
    size: u64,
    granularity: u64,
    /// The committed part of an elastic heap; `None` for fixed memory.
    pages: Option<Mutex<Pages>>,
    volatile: AtomicBool,
}

impl SimMemory {
    pub(super) fn new(state: Arc<State>, address: u64, size: u64, kind: HeapKind, granularity: u64) -> Self {
        let objects = state.objects.fetch_add(1, Relaxed) + 1;
        state.peak_objects.fetch_max(objects, Relaxed);
        let pages = (kind == HeapKind::Elastic).then(Mutex::default);
        Self { state, address, size, granularity, pages, volatile: AtomicBool::new(false) }
    }

    /// Commits `range`, or decommits it. All of it must be in the opposite state before.
    fn turn(&self, call: &'static str, range: Range<u64>, committed: bool) -> Result<(), DeviceError> {
        let pages = self.pages.as_ref().ok_or(DeviceError::Unsupported { what: call })?;
        let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        if committed && pages.avoid(&range) {
            pages.add(range);
        } else if !committed && pages.cover(&range) {
            pages.remove(&range);
        } else {
            let reason = if committed { "committed already" } else { "not committed" };
            return Err(DeviceError::Failed { call, reason: format!("{range:?}: {reason}") });
        }
        Ok(())
    }

    /// Returns an error if the memory is volatile, because nothing may access it then.
    fn usable(&self, call: &'static str) -> Result<(), DeviceError> {
        if self.volatile.load(Relaxed) {
            return Err(DeviceError::Failed { call, reason: "the memory is volatile".into() });
        }
        Ok(())
    }

    /// Returns whether all of a range is committed.
    fn backs(&self, range: &Range<u64>) -> bool {
        let Some(pages) = &self.pages else { return true };
        pages.lock().unwrap_or_else(PoisonError::into_inner).cover(range)
    }

    fn committed(&self) -> u64 {
        let Some(pages) = &self.pages else { return self.size };
        pages.lock().unwrap_or_else(PoisonError::into_inner).bytes()
    }
}

// SAFETY: the addresses are fixed. They belong to this value alone, and to no other value later. There is no
// memory behind them.
unsafe impl Memory for SimMemory {
    fn device_address(&self) -> u64 {
        self.address
    }

    fn size(&self) -> u64 {
        self.size
    }

    unsafe fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let bytes = steps_within(&range, self.size, self.granularity)?;
        self.state.enter(Call::Commit, bytes)?;
        self.state.take(bytes)?;
        self.turn("commit", range, true).inspect_err(|_| self.state.give(bytes))
    }

    unsafe fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let bytes = steps_within(&range, self.size, self.granularity)?;
        self.state.enter(Call::Decommit, bytes)?;
        self.turn("decommit", range, false)?;
        self.state.give(bytes);
        Ok(())
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.state.enter(Call::Warm, within(&range, self.size)?)?;
        self.usable("warm")
    }

    unsafe fn fill(&self, range: Range<u64>, _byte: u8) -> Result<(), DeviceError> {
        self.state.enter(Call::Fill, within(&range, self.size)?)?;
        self.usable("fill")
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let from = from.as_any().downcast_ref::<Self>();
        let from = from.ok_or(DeviceError::ForeignMemory { device: "sim" })?;
        let target = copy_within(at, self.size, &range, from.size)?;
        self.state.enter(Call::Copy, target.end - target.start)?;
        self.usable("copy")?;
        from.usable("copy")?;
        if !from.backs(&range) || !self.backs(&target) {
            let reason = "memory that is not committed".into();
            return Err(DeviceError::Failed { call: "copy", reason });
        }
        Ok(())
    }

    unsafe fn set_volatile(&self, volatile: bool) -> Result<Contents, DeviceError> {
        self.state.enter(Call::SetVolatile, self.size)?;
        if !self.state.purgeable.load(Relaxed) {
            return Err(DeviceError::Unsupported { what: "volatile memory" });
        }
        if self.volatile.swap(volatile, Relaxed) == volatile {
            let reason = format!("volatile is {volatile} already");
            return Err(DeviceError::Failed { call: "set_volatile", reason });
        }
        if volatile {
            self.state.volatile.fetch_add(self.size, Relaxed);
            return Ok(Contents::Kept);
        }
        self.state.volatile.fetch_sub(self.size, Relaxed);
        Ok(if self.state.pressure.load(Relaxed) { Contents::Lost } else { Contents::Kept })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for SimMemory {
    fn drop(&mut self) {
        self.state.wait();
        self.state.give(self.committed());
        if *self.volatile.get_mut() {
            self.state.volatile.fetch_sub(self.size, Relaxed);
        }
        self.state.objects.fetch_sub(1, Relaxed);
        self.state.frees.fetch_add(1, Relaxed);
    }
}

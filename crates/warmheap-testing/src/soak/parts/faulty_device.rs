//! A wrapper around any device. Its calls fail when told to, its budget moves, and it keeps its own
//! account of what is held.
#![allow(unsafe_code)]

use std::any::Any;
use std::ops::Range;
use std::panic::resume_unwind;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::soak::figures::{Figures, count};
use warmheap::device::{
    Contents, Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory, ObjectCount,
};

/// As a budget this means none. As a countdown it means that every call fails from now on.
const ALL: u64 = u64::MAX;

/// The state that the device and all of its memory share.
#[derive(Debug)]
pub(in crate::soak) struct Faults {
    figures: Arc<Figures>,
    budget: AtomicU64,
    live: AtomicU64,
    peak: AtomicU64,
    objects: AtomicU64,
    calls: AtomicU64,
    /// Calls that failed, for any reason.
    troubles: AtomicU64,
    /// The calls until one fails; 0 means that none does.
    countdown: AtomicU64,
    /// Whether failing calls panic.
    panics: AtomicBool,
    /// Copies that succeeded, and their bytes.
    copies: AtomicU64,
    copied: AtomicU64,
}

impl Faults {
    pub(in crate::soak) fn new(figures: Arc<Figures>) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let (live, peak, objects) = (zero(), zero(), zero());
        let (calls, troubles, countdown) = (zero(), zero(), zero());
        let (copies, copied) = (zero(), zero());
        let (budget, panics) = (AtomicU64::new(ALL), AtomicBool::new(false));
        Arc::new(Self {
            figures,
            budget,
            live,
            peak,
            objects,
            calls,
            troubles,
            countdown,
            panics,
            copies,
            copied,
        })
    }

    /// Sets the budget. What is held beyond it stays held.
    pub(in crate::soak) fn set_budget(&self, bytes: Option<u64>) {
        self.budget.store(bytes.unwrap_or(ALL), Relaxed);
    }

    /// Makes the `nth` call from now fail, with an error or with a panic.
    pub(in crate::soak) fn fail(&self, nth: u64, panics: bool) {
        self.panics.store(panics, Relaxed);
        self.countdown.store(nth, Relaxed);
    }

    /// Makes every call fail until it is healed.
    pub(in crate::soak) fn fail_all(&self) {
        self.fail(ALL, false);
    }

    pub(in crate::soak) fn heal(&self) {
        self.fail(0, false);
    }

    /// Returns the number of calls that failed.
    pub(in crate::soak) fn troubles(&self) -> u64 {
        self.troubles.load(Relaxed)
    }

    /// Returns the number of calls made, frees included.
    pub(in crate::soak) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Returns the copies that succeeded since [`Faults::forget_copies`], and their bytes.
    pub(in crate::soak) fn copied(&self) -> (u64, u64) {
        (self.copies.load(Relaxed), self.copied.load(Relaxed))
    }

    pub(in crate::soak) fn forget_copies(&self) {
        self.copies.store(0, Relaxed);
        self.copied.store(0, Relaxed);
    }

    pub(in crate::soak) fn live_bytes(&self) -> u64 {
        self.live.load(Relaxed)
    }

    /// Returns the most bytes held at once.
    pub(in crate::soak) fn peak_bytes(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    pub(in crate::soak) fn live_objects(&self) -> u64 {
        self.objects.load(Relaxed)
    }

    fn available(&self) -> Option<u64> {
        let budget = self.budget.load(Relaxed);
        (budget != ALL).then(|| budget.saturating_sub(self.live_bytes()))
    }

    /// Makes a call that takes `bytes`, unless a failure is injected or the budget forbids it.
    fn call<R>(
        &self,
        name: &'static str,
        bytes: u64,
        call: impl FnOnce() -> Result<R, DeviceError>,
    ) -> Result<R, DeviceError> {
        count(&self.calls);
        let answer = self.turn(name, bytes).and_then(|()| {
            self.take(bytes)?;
            call().inspect_err(|_| self.give(bytes))
        });
        if let Err(error) = &answer
            && !matches!(error, DeviceError::Unsupported { .. })
        {
            count(&self.troubles);
        }
        answer
    }

    /// Returns an error if a failure is injected for this call.
    fn turn(&self, call: &'static str, bytes: u64) -> Result<(), DeviceError> {
        let step = |left: u64| match left {
            0 => None,
            ALL => Some(ALL),
            left => Some(left - 1),
        };
        if !matches!(self.countdown.fetch_update(Relaxed, Relaxed, step), Ok(1 | ALL)) {
            return Ok(());
        }
        count(&self.figures.failures_injected);
        if self.panics.load(Relaxed) {
            count(&self.troubles);
            // The panic writes no message to standard error.
            resume_unwind(Box::new("the soak ordered a panic"));
        }
        Err(if bytes > 0 {
            DeviceError::OutOfMemory { requested: bytes, available: None }
        } else {
            DeviceError::Failed { call, reason: "the soak ordered a failure".to_owned() }
        })
    }

    fn take(&self, bytes: u64) -> Result<(), DeviceError> {
        let budget = self.budget.load(Relaxed);
        let fits = |live: u64| live.checked_add(bytes).filter(|sum| bytes == 0 || *sum <= budget);
        match self.live.fetch_update(Relaxed, Relaxed, fits) {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Relaxed);
                self.figures.peak_reserved_bytes.fetch_max(before + bytes, Relaxed);
                Ok(())
            }
            Err(_) => {
                count(&self.figures.refused_by_budget);
                Err(DeviceError::OutOfMemory { requested: bytes, available: self.available() })
            }
        }
    }

    fn give(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Relaxed);
    }
}

/// The wrapped device.
#[derive(Debug)]
pub(in crate::soak) struct FaultyDevice {
    pub(in crate::soak) inner: Arc<dyn Device>,
    pub(in crate::soak) faults: Arc<Faults>,
}

impl FaultyDevice {
    fn memory(&self, inner: Box<dyn Memory>, heap: bool, held: u64) -> Box<dyn Memory> {
        if heap {
            count(&self.faults.figures.heaps_made);
        }
        count(&self.faults.objects);
        let faults = Arc::clone(&self.faults);
        Box::new(FaultyMemory { inner, faults, heap, held: AtomicU64::new(held) })
    }
}

impl Device for FaultyDevice {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn limits(&self) -> DeviceLimits {
        let mut limits = self.inner.limits();
        if let Some(available) = self.faults.available() {
            limits.budget = Some(self.faults.budget.load(Relaxed));
            limits.available = Some(available);
        }
        limits
    }

    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError> {
        let held = if request.kind == HeapKind::Fixed { request.size } else { 0 };
        let memory = self.faults.call("create_heap", held, || self.inner.create_heap(request))?;
        Ok(self.memory(memory, true, held))
    }

    fn allocate(&self, size: u64, align: u64) -> Result<Box<dyn Memory>, DeviceError> {
        let memory = self.faults.call("allocate", size, || self.inner.allocate(size, align))?;
        Ok(self.memory(memory, false, size))
    }

    fn objects(&self) -> Option<ObjectCount> {
        self.inner.objects()
    }
}

#[derive(Debug)]
struct FaultyMemory {
    inner: Box<dyn Memory>,
    faults: Arc<Faults>,
    heap: bool,
    held: AtomicU64,
}

// SAFETY: it owns the memory that it wraps, and describes only that memory.
unsafe impl Memory for FaultyMemory {
    fn device_address(&self) -> u64 {
        self.inner.device_address()
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn host_ptr(&self) -> Option<NonNull<u8>> {
        self.inner.host_ptr()
    }

    unsafe fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let bytes = range.end.saturating_sub(range.start);
        // SAFETY: the caller keeps this function's contract.
        self.faults.call("commit", bytes, || unsafe { self.inner.commit(range) })?;
        self.held.fetch_add(bytes, Relaxed);
        Ok(())
    }

    unsafe fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let bytes = range.end.saturating_sub(range.start);
        // SAFETY: the caller keeps this function's contract.
        self.faults.call("decommit", 0, || unsafe { self.inner.decommit(range) })?;
        self.held.fetch_sub(bytes, Relaxed);
        self.faults.give(bytes);
        Ok(())
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps this function's contract.
        self.faults.call("warm", 0, || unsafe { self.inner.warm(range) })
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        // SAFETY: the caller keeps this function's contract.
        self.faults.call("fill", 0, || unsafe { self.inner.fill(range, byte) })
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let bytes = range.end.saturating_sub(range.start);
        // The source's `as_any` returns the memory that it wraps, which the device knows.
        // SAFETY: the caller keeps this function's contract.
        self.faults.call("copy", 0, || unsafe { self.inner.copy_from(at, from, range) })?;
        count(&self.faults.copies);
        self.faults.copied.fetch_add(bytes, Relaxed);
        Ok(())
    }

    unsafe fn set_volatile(&self, volatile: bool) -> Result<Contents, DeviceError> {
        // SAFETY: the caller keeps this function's contract.
        self.faults.call("set_volatile", 0, || unsafe { self.inner.set_volatile(volatile) })
    }

    fn as_any(&self) -> &dyn Any {
        self.inner.as_any()
    }
}

impl Drop for FaultyMemory {
    fn drop(&mut self) {
        count(&self.faults.calls);
        self.faults.give(*self.held.get_mut());
        self.faults.objects.fetch_sub(1, Relaxed);
        if self.heap {
            count(&self.faults.figures.heaps_destroyed);
        }
    }
}

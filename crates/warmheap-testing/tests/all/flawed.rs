//! A device that breaks one rule. It wraps a device that keeps all rules.

use std::any::Any;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use warmheap::device::{Device, DeviceError, DeviceLimits, HeapKind, HeapRequest, Memory};

/// The broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    OddAlignment,
    LimitsWander,
    HeapTooShort,
    HeapOffAlignment,
    DenyElastic,
    DecommitDoesNothing,
    BufferOffAlignment,
    WarmWorksOnce,
    FillOneTooFew,
    FillOneTooMany,
    FillWhatIsInside,
    CopyOneTooFew,
    CopyToTheStart,
    DirtyButZeroed,
    TooLargeAsOutOfMemory,
    LoseEveryFourthHeap,
    KeepRefused,
    SameAddress,
    OneCallAtATime,
    PanicOnAllocate,
}

#[derive(Debug)]
pub(crate) struct Flawed<D> {
    inner: D,
    flaw: Flaw,
    calls: Arc<AtomicU64>,
    busy: Arc<Mutex<()>>,
    /// Memory that never comes back.
    lost: Mutex<Vec<Box<dyn Memory>>>,
}

#[derive(Debug)]
struct FlawedMemory {
    inner: Box<dyn Memory>,
    flaw: Flaw,
    heap: bool,
    warmed: AtomicU64,
    busy: Arc<Mutex<()>>,
}

impl<D> Flawed<D> {
    pub(crate) fn new(inner: D, flaw: Flaw) -> Self {
        Self { inner, flaw, calls: Arc::default(), busy: Arc::default(), lost: Mutex::default() }
    }

    fn memory(&self, inner: Box<dyn Memory>, heap: bool) -> Box<dyn Memory> {
        let busy = Arc::clone(&self.busy);
        Box::new(FlawedMemory { inner, flaw: self.flaw, heap, warmed: AtomicU64::new(0), busy })
    }
}

/// Fails if another thread is in a call.
fn enter(flaw: Flaw, busy: &Mutex<()>) -> Result<(), DeviceError> {
    if flaw == Flaw::OneCallAtATime {
        let failed = || DeviceError::Failed { call: "any", reason: "called from two threads at once".into() };
        let _inside = busy.try_lock().map_err(|_| failed())?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

impl<D: Device> Device for Flawed<D> {
    fn name(&self) -> &str {
        "flawed"
    }

    fn limits(&self) -> DeviceLimits {
        let mut limits = self.inner.limits();
        match self.flaw {
            Flaw::OddAlignment => limits.alignment = 48,
            Flaw::LimitsWander => limits.largest_heap += self.calls.fetch_add(1, SeqCst) * limits.granularity,
            Flaw::DenyElastic => limits.elastic = false,
            _ => {}
        }
        limits
    }

    fn create_heap(&self, request: &HeapRequest) -> Result<Box<dyn Memory>, DeviceError> {
        enter(self.flaw, &self.busy)?;
        let mut request = request.clone();
        let fixed = request.kind == HeapKind::Fixed;
        if self.flaw == Flaw::HeapTooShort && fixed && request.size < 1 << 30 {
            request.size -= self.limits().alignment;
        }
        if self.flaw == Flaw::LoseEveryFourthHeap && fixed && self.calls.fetch_add(1, SeqCst) % 4 == 3 {
            self.lost.lock().unwrap().push(self.inner.create_heap(&request)?);
        }
        let answer = self.inner.create_heap(&request);
        if self.flaw == Flaw::KeepRefused && matches!(answer, Err(DeviceError::OutOfMemory { .. })) {
            let part = HeapRequest::new(self.limits().granularity, request.kind, &*request.label);
            self.lost.lock().unwrap().extend(self.inner.create_heap(&part));
        }
        if self.flaw == Flaw::TooLargeAsOutOfMemory && matches!(answer, Err(DeviceError::TooLarge { .. })) {
            return Err(DeviceError::OutOfMemory { requested: request.size, available: None });
        }
        Ok(self.memory(answer?, true))
    }

    fn allocate(&self, size: u64, align: u64) -> Result<Box<dyn Memory>, DeviceError> {
        enter(self.flaw, &self.busy)?;
        assert!(self.flaw != Flaw::PanicOnAllocate, "no buffers here");
        let memory = self.inner.allocate(size, align)?;
        if self.flaw == Flaw::DirtyButZeroed {
            // SAFETY: the memory is in no buffer yet.
            unsafe { memory.fill(0..size, 7) }?;
        }
        Ok(self.memory(memory, false))
    }
}

// SAFETY: it owns the memory that it wraps. Where it misreports that, only the conformance suite uses it.
unsafe impl Memory for FlawedMemory {
    fn device_address(&self) -> u64 {
        match self.flaw {
            Flaw::HeapOffAlignment if self.heap => self.inner.device_address() + 8,
            Flaw::BufferOffAlignment if !self.heap => self.inner.device_address() + 8,
            // All heaps of one size report the same place.
            Flaw::SameAddress => 1 << 45,
            _ => self.inner.device_address(),
        }
    }

    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn host_ptr(&self) -> Option<NonNull<u8>> {
        self.inner.host_ptr()
    }

    unsafe fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        enter(self.flaw, &self.busy)?;
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.inner.commit(range) }
    }

    unsafe fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        enter(self.flaw, &self.busy)?;
        if self.flaw == Flaw::DecommitDoesNothing {
            return Ok(());
        }
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.inner.decommit(range) }
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        enter(self.flaw, &self.busy)?;
        if self.flaw == Flaw::WarmWorksOnce && self.warmed.fetch_add(1, SeqCst) > 0 && self.heap {
            return Err(DeviceError::Failed { call: "warm", reason: "warm already".into() });
        }
        // SAFETY: the caller keeps this function's contract.
        unsafe { self.inner.warm(range) }
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        enter(self.flaw, &self.busy)?;
        let short = range.end.saturating_sub(range.start) < 1 << 10;
        let range = match self.flaw {
            Flaw::FillOneTooFew => range.start..range.end - 1,
            Flaw::FillOneTooMany if short && self.heap => {
                // The range stays within the memory.
                range.start..(range.end + 1).min(self.size())
            }
            Flaw::FillWhatIsInside => range.start.min(self.size())..range.end.min(self.size()),
            _ => range,
        };
        // SAFETY: the caller keeps this function's contract. Only the suite uses the memory, so one byte more
        // does no harm.
        unsafe { self.inner.fill(range, byte) }
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        enter(self.flaw, &self.busy)?;
        let (at, range) = match self.flaw {
            Flaw::CopyOneTooFew => (at, range.start..range.end - 1),
            Flaw::CopyToTheStart => (0, range),
            _ => (at, range),
        };
        // SAFETY: the caller keeps this function's contract, and only the suite uses the memory.
        unsafe { self.inner.copy_from(at, from, range) }
    }

    fn as_any(&self) -> &dyn Any {
        self.inner.as_any()
    }
}

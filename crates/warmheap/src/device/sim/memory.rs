//! A simulated heap or buffer: which of its pages are committed.

use std::any::Any;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Call, State};
use crate::device::{Contents, DeviceError, HeapKind, Memory};

#[derive(Debug)]
pub(super) struct SimMemory {
    state: Arc<State>,
    address: u64,
    size: u64,
    granularity: u64,
    /// Committed pages of an elastic heap, one bit each; `None` for fixed memory.
    pages: Option<Mutex<Vec<u64>>>,
    volatile: AtomicBool,
}

impl SimMemory {
    pub(super) fn new(state: Arc<State>, address: u64, size: u64, kind: HeapKind, granularity: u64) -> Self {
        let objects = state.objects.fetch_add(1, Relaxed) + 1;
        state.peak_objects.fetch_max(objects, Relaxed);
        let pages = (kind == HeapKind::Elastic).then(Mutex::default);
        Self { state, address, size, granularity, pages, volatile: AtomicBool::new(false) }
    }

    /// Turns the pages of `range` to `committed`; all of them must be the opposite now.
    fn turn(&self, call: &'static str, range: &Range<u64>, committed: bool) -> Result<(), DeviceError> {
        let wrong = |reason: &str| DeviceError::Failed { call, reason: format!("{range:?}: {reason}") };
        let pages = self.pages.as_ref().ok_or(DeviceError::Unsupported { what: call })?;
        if !range.start.is_multiple_of(self.granularity) || !range.end.is_multiple_of(self.granularity) {
            return Err(wrong("not whole pages"));
        }
        if range.is_empty() || range.end > self.size {
            return Err(wrong("not inside the heap"));
        }
        let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        let range = (range.start / self.granularity) as usize..(range.end / self.granularity) as usize;
        if range.clone().any(|page| is_set(&pages, page) == committed) {
            return Err(wrong(if committed { "committed already" } else { "not committed" }));
        }
        if pages.len() * 64 < range.end {
            pages.resize(range.end.div_ceil(64), 0);
        }
        range.for_each(|page| pages[page / 64] ^= 1 << (page % 64));
        Ok(())
    }

    /// Volatile memory must not be touched.
    fn usable(&self, call: &'static str) -> Result<(), DeviceError> {
        if self.volatile.load(Relaxed) {
            return Err(DeviceError::Failed { call, reason: "the memory is volatile".into() });
        }
        Ok(())
    }

    /// Whether there is memory behind all of a range.
    fn backs(&self, range: &Range<u64>) -> bool {
        let Some(pages) = &self.pages else { return range.end <= self.size };
        let pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        let range = (range.start / self.granularity) as usize..range.end.div_ceil(self.granularity) as usize;
        range.into_iter().all(|page| is_set(&pages, page))
    }

    fn committed(&self) -> u64 {
        match &self.pages {
            None => self.size,
            Some(pages) => {
                let pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
                pages.iter().map(|word| u64::from(word.count_ones())).sum::<u64>() * self.granularity
            }
        }
    }
}

fn is_set(pages: &[u64], page: usize) -> bool {
    pages.get(page / 64).is_some_and(|word| word >> (page % 64) & 1 == 1)
}

impl Memory for SimMemory {
    fn address(&self) -> u64 {
        self.address
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let bytes = range.end - range.start;
        self.state.enter(Call::Commit, bytes)?;
        self.state.take(bytes)?;
        let turned = self.turn("commit", &range, true);
        if turned.is_err() {
            self.state.give(bytes);
        }
        turned
    }

    fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let bytes = range.end - range.start;
        self.state.enter(Call::Decommit, bytes)?;
        self.turn("decommit", &range, false)?;
        self.state.give(bytes);
        Ok(())
    }

    fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        self.state.enter(Call::Warm, range.end - range.start)?;
        self.usable("warm")
    }

    fn fill(&self, range: Range<u64>, _byte: u8) -> Result<(), DeviceError> {
        self.state.enter(Call::Fill, range.end - range.start)?;
        self.usable("fill")
    }

    fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let len = range.end - range.start;
        self.state.enter(Call::Copy, len)?;
        let wrong = |reason: &str| DeviceError::Failed { call: "copy", reason: reason.into() };
        let from = from.as_any().downcast_ref::<Self>().ok_or_else(|| wrong("from another device"))?;
        self.usable("copy")?;
        from.usable("copy")?;
        if !from.backs(&range) || !self.backs(&(at..at + len)) {
            return Err(wrong("memory that is not committed"));
        }
        Ok(())
    }

    fn set_volatile(&self, volatile: bool) -> Result<Contents, DeviceError> {
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
        self.state.give(self.committed());
        if *self.volatile.get_mut() {
            self.state.volatile.fetch_sub(self.size, Relaxed);
        }
        self.state.objects.fetch_sub(1, Relaxed);
        self.state.frees.fetch_add(1, Relaxed);
    }
}

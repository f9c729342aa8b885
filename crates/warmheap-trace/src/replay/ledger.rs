//! Counts what is alive and what failed in the first round, and verifies the pool.
//!
//! That round is not timed, so it may count every byte. Verification keeps every live range in an ordered map
//! and checks the neighbours of each new range. If the CPU can access the memory, it also writes a few
//! [`Words`] unique to the buffer, and checks them when the buffer is freed.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ReplayError;
use super::failures::Failures;
use super::round::Meter;
use crate::words::Words;
use warmheap::{AllocError, Buffer, Pool};

/// The counts of all threads of the round together.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    live_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    failures: Mutex<Failures>,
    ranges: Option<Mutex<Ranges>>,
}

#[derive(Debug, Default)]
struct Ranges {
    /// The first address of each live range, with the address past its last byte and the buffer's number.
    live: BTreeMap<u64, (u64, u64)>,
    next_number: u64,
    broken: Option<ReplayError>,
}

impl Ledger {
    pub(super) fn new(verify: bool) -> Self {
        Self { ranges: verify.then(Mutex::default), ..Self::default() }
    }

    /// Takes the failures so far.
    pub(super) fn take_failures(&self) -> Failures {
        std::mem::take(&mut *lock(&self.failures))
    }

    /// Returns the most requested bytes that were alive at once, over all threads.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    /// Returns the first failure of the pool, if there was one.
    pub(super) fn verdict(self) -> Result<(), ReplayError> {
        let ranges = self.ranges.map(Mutex::into_inner);
        match ranges.map(|r| r.unwrap_or_else(PoisonError::into_inner).broken) {
            Some(Some(broken)) => Err(broken),
            _ => Ok(()),
        }
    }
}

impl Meter for &Ledger {
    fn allocate(&mut self, pool: &Pool, size: u64) -> Result<Buffer, AllocError> {
        let buffer = pool.allocate(size)?;
        let live = self.live_bytes.fetch_add(size, Ordering::Relaxed) + size;
        self.peak_bytes.fetch_max(live, Ordering::Relaxed);
        if let Some(ranges) = &self.ranges {
            let number = lock(ranges).insert(buffer.device_address(), size);
            if let Some(words) = Words::of(&buffer) {
                // SAFETY: the pool has just given the buffer to this thread, and no other thread has it.
                unsafe { words.write(number) };
            }
        }
        Ok(buffer)
    }

    fn failed(&mut self, op: usize, size: u64, error: &AllocError) {
        lock(&self.failures).add(op, size, error);
    }

    fn release(&mut self, slot: &mut Option<Buffer>) {
        let Some(buffer) = slot.take() else { return };
        if let Some(ranges) = &self.ranges {
            // The range is removed before the free, because it may belong to another thread afterwards.
            let number = lock(ranges).remove(buffer.device_address());
            let changed = Words::of(&buffer).and_then(|words| words.changed(number));
            if let Some(offset) = changed {
                lock(ranges).broken.get_or_insert(ReplayError::Changed {
                    address: buffer.device_address(),
                    size: buffer.size(),
                    offset,
                });
            }
        }
        self.live_bytes.fetch_sub(buffer.size(), Ordering::Relaxed);
        drop(buffer);
    }
}

/// Locks what threads share. A panic of another thread has left it consistent.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ranges {
    /// Notes a live range and returns its number.
    fn insert(&mut self, start: u64, size: u64) -> u64 {
        let end = start.saturating_add(size);
        let before = self.live.range(..end).next_back();
        if let Some((&other, &(other_end, _))) = before
            && other_end > start
        {
            self.broken.get_or_insert(ReplayError::Overlap {
                address: start,
                size,
                other,
                other_size: other_end - other,
            });
        }
        self.next_number += 1;
        self.live.insert(start, (end, self.next_number));
        self.next_number
    }

    fn remove(&mut self, start: u64) -> u64 {
        self.live.remove(&start).map_or(0, |(_, number)| number)
    }
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use warmheap::PoolConfig;
    use warmheap::device::host::HostDevice;

    #[test]
    fn every_way_to_overlap_is_seen_and_touching_is_none() {
        let broken = |start, size| {
            let mut ranges = Ranges::default();
            ranges.insert(100, 10);
            ranges.insert(120, 10);
            ranges.insert(start, size);
            ranges.broken.is_some()
        };
        for (start, size) in [(100, 10), (109, 1), (95, 6), (102, 2), (90, 200), (129, 5), (119, 2)] {
            assert!(broken(start, size), "{start} + {size}");
        }
        for (start, size) in [(110, 10), (90, 10), (130, 1), (0, 1)] {
            assert!(!broken(start, size), "{start} + {size}");
        }
    }

    #[test]
    fn a_changed_byte_is_found_where_it_is() {
        let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
        for size in [8, 9, 15, 16, 17, 1136, 1 << 20] {
            let ledger = Ledger::new(true);
            let buffer = (&ledger).allocate(&pool, size).unwrap();
            let place = buffer.memory().unwrap();
            let last = place.offset() + size - 1;
            // SAFETY: the byte is this buffer's.
            unsafe { place.fill(last..last + 1, 0x5a) }.unwrap();
            (&ledger).release(&mut Some(buffer));
            let changed = ledger.verdict().unwrap_err();
            assert!(
                matches!(changed, ReplayError::Changed { offset, .. } if offset == size - 8),
                "{changed}"
            );
        }
    }
}

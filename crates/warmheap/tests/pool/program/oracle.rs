//! What a pool's statistics must say, computed in the slow and simple way.

use std::collections::BTreeMap;

use warmheap::{Buffer, Statistics};

const MIB: f64 = (1 << 20) as f64;

/// Stands in place of an alignment for a buffer that may have room to grow.
pub(crate) const GROWING: u64 = u64::MAX;

/// The program's own account of what it did.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    counting: bool,
    total: u64,
    freed: u64,
    /// The buffers that were alive at the last reset. They are taken to be freed first.
    before: u64,
    fallbacks: u64,
    failures: u64,
    requested: u64,
    largest: u64,
    peak: u64,
    /// Live buffers: the address and the size.
    live: BTreeMap<u64, u64>,
    live_bytes: u64,
    fallback_bytes: u64,
    /// Bounds on the heap memory of live buffers.
    least: u64,
    most: u64,
    /// Whether clearing freed memory may fail, so that the pool puts it in quarantine.
    fills_may_fail: bool,
    /// The most bytes that may be in quarantine: those seen last, and all freed since.
    quarantined: u64,
}

impl Oracle {
    pub(crate) fn new(counting: bool) -> Self {
        Self { counting, ..Self::default() }
    }

    pub(crate) fn allocated(&mut self, buffer: &Buffer, align: u64) {
        let (address, size) = (buffer.device_address(), buffer.size());
        let below = self.live.range(..address + size).next_back();
        if let Some((other, len)) = below {
            assert!(other + len <= address, "{buffer:?} overlaps {len} bytes at {other:#x}");
        }
        self.live.insert(address, size);
        self.live_bytes += size;
        self.total += 1;
        self.requested += size;
        self.largest = self.largest.max(size);
        self.peak = self.peak.max(self.live_bytes);
        self.fallbacks += u64::from(buffer.is_fallback());
        self.hold(buffer, align, u64::wrapping_add);
    }

    pub(crate) fn freed(&mut self, buffer: &Buffer, align: u64) {
        assert_eq!(self.live.remove(&buffer.device_address()), Some(buffer.size()));
        self.live_bytes -= buffer.size();
        self.freed += 1;
        self.hold(buffer, align, u64::wrapping_sub);
        self.may_be_quarantined(buffer.size(), align);
    }

    /// Notes that the buffer had `old` bytes and is longer now, in its place.
    pub(crate) fn grown(&mut self, buffer: &Buffer, old: u64, align: u64) {
        let (address, size) = (buffer.device_address(), buffer.size());
        assert_eq!(self.live.insert(address, size), Some(old));
        let above = self.live.range(address + 1..).next();
        if let Some((other, len)) = above {
            assert!(address + size <= *other, "{buffer:?} grew into {len} bytes at {other:#x}");
        }
        self.live_bytes += size - old;
        self.requested += size - old;
        self.largest = self.largest.max(size);
        self.peak = self.peak.max(self.live_bytes);
        self.hold_bytes(old, align, u64::wrapping_sub);
        self.hold_bytes(size, align, u64::wrapping_add);
    }

    /// Notes a buffer of `size` bytes that came and went unseen, because its contents could not be copied
    /// there.
    pub(crate) fn passed(&mut self, size: u64, fallbacks: u64) {
        self.total += 1;
        self.freed += 1;
        self.requested += size;
        self.largest = self.largest.max(size);
        self.peak = self.peak.max(self.live_bytes + size);
        self.fallbacks += fallbacks;
        self.may_be_quarantined(size, GROWING);
    }

    fn hold(&mut self, buffer: &Buffer, align: u64, change: fn(u64, u64) -> u64) {
        if buffer.is_fallback() {
            self.fallback_bytes = change(self.fallback_bytes, buffer.size());
        } else {
            self.hold_bytes(buffer.size(), align, change);
        }
    }

    fn hold_bytes(&mut self, size: u64, align: u64, change: fn(u64, u64) -> u64) {
        let (least, most) = range_of(size, align);
        self.least = change(self.least, least);
        self.most = change(self.most, most);
    }

    /// Notes whether the device may fail to clear freed memory from now on, if the settings ask for it.
    pub(crate) fn set_fills_may_fail(&mut self, may: bool) {
        self.fills_may_fail = may;
    }

    /// Notes that a buffer is gone whose memory was perhaps not cleared.
    pub(crate) fn may_be_quarantined(&mut self, size: u64, align: u64) {
        if self.fills_may_fail {
            self.quarantined += range_of(size, align).1;
        }
    }

    /// Notes that the pool has tried to clear its quarantine.
    pub(crate) fn cleared(&mut self) {
        if !self.fills_may_fail {
            self.quarantined = 0;
        }
    }

    pub(crate) fn failed(&mut self) {
        self.failures += 1;
    }

    /// Acts as the pool's reset of statistics: counters become 0, and gauges stay.
    pub(crate) fn reset(&mut self) {
        for counter in [&mut self.total, &mut self.freed, &mut self.fallbacks, &mut self.failures] {
            *counter = 0;
        }
        self.before = self.live.len() as u64;
        (self.requested, self.largest, self.peak) = (0, 0, self.live_bytes);
    }

    /// Compares every figure with the pool's.
    pub(crate) fn compare(&mut self, seen: &Statistics) {
        let on = |count: u64| if self.counting { count } else { 0 };
        assert_eq!(seen.total_allocations, on(self.total), "total_allocations");
        assert_eq!(
            seen.total_deallocations,
            on(self.freed.saturating_sub(self.before)),
            "total_deallocations"
        );
        assert_eq!(seen.fallback_allocations, on(self.fallbacks), "fallback_allocations");
        assert_eq!(seen.failed_allocations, on(self.failures), "failed_allocations");
        assert_eq!(seen.active_allocations, on(self.live.len() as u64), "active_allocations");
        let (total, fallbacks) = (on(self.total), on(self.fallbacks));
        let rate = if total == 0 { 1.0 } else { (total - fallbacks) as f64 / total as f64 };
        assert_eq!(seen.hit_rate, rate, "hit_rate");
        assert_eq!(seen.largest_allocation_mb, on(self.largest) as f64 / MIB, "largest_allocation_mb");
        let average = if total == 0 { 0.0 } else { on(self.requested) as f64 / total as f64 / MIB };
        // Buffers from before a reset may have grown since.
        let average = average.min(seen.largest_allocation_mb);
        assert!((seen.avg_allocation_mb - average).abs() < 1e-9, "avg_allocation_mb");
        assert_eq!(seen.peak_used_mb, on(self.peak) as f64 / MIB, "peak_used_mb");

        let fallback = self.fallback_bytes as f64 / MIB;
        assert_eq!(seen.fallback_mb, fallback, "fallback_mb");
        let used = (seen.used_capacity_mb * MIB) as u64;
        let Self { least, most, .. } = *self;
        assert!((least..=most).contains(&used), "{used} used of {least}..{most}");
        let quarantined = (seen.quarantined_mb * MIB) as u64;
        assert!(quarantined <= self.quarantined, "{quarantined} quarantined of at most {}", self.quarantined);
        self.quarantined = quarantined;
        let capacity = seen.total_capacity_mb;
        assert!(seen.used_capacity_mb + seen.cached_mb <= capacity, "more is used than there is: {seen:?}");
        let share = if capacity == 0.0 { 0.0 } else { seen.used_capacity_mb / capacity };
        assert!((seen.utilization - share).abs() < 1e-9, "utilization");
        assert!((0.0..=1.0).contains(&seen.fragmentation), "fragmentation {}", seen.fragmentation);
        assert!(seen.active_heaps <= seen.total_heaps);
        let idle = self.least == 0;
        assert!(idle || seen.active_heaps > 0, "no heap is active, but buffers are alive in some");
    }
}

/// Returns the least and the most bytes of a span for a request.
fn range_of(size: u64, align: u64) -> (u64, u64) {
    let rounded = size.next_multiple_of(256);
    let most = if align == GROWING {
        // The pool takes whole pages, or an eighth more than requested, rounded like any other request.
        let spared = (rounded + rounded / 8).next_multiple_of(256);
        rounded.next_multiple_of(2 << 20).max(spared + spared / 16)
    } else if rounded <= 1 << 20 && align <= 256 {
        // Small sizes share classes, at most a sixteenth above the request.
        rounded + rounded / 16
    } else {
        rounded
    };
    (rounded, most)
}

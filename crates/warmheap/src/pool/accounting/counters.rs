//! Statistics that cost a few plain additions.
//!
//! Every thread counts in its own shard, which it alone writes. A snapshot adds the shards up. The fields are
//! atomics so that other threads may read them. The owner updates its own line with one ordinary instruction
//! and must never need a locked one.
//!
//! The peak of live bytes is the one figure that a sum cannot give. Each thread publishes its net bytes
//! whenever they have changed by [`STEP`]. It remembers the highest point in between, which it always reaches
//! just before a free. The peak is exact with one thread, and within two steps per thread with more.
//!
//! Snapshots read the shards while their threads count. A free is published after all that came before it,
//! including the allocation, on whichever thread that was. Snapshots read the frees first, so no sum has the
//! end of a buffer without its beginning.
#![forbid(unsafe_code)]

#[cfg(all(test, loom))]
mod model;

use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicI64, AtomicU64};

/// The bytes by which a thread's net may change before the thread publishes it.
const STEP: i64 = 64 << 20;
/// How often a snapshot reads the shards to find a moment at which no thread freed. It settles for the
/// reading with the fewest frees.
const READINGS: usize = 8;

/// One thread's counters.
#[derive(Debug)]
pub(crate) struct Counters {
    allocations: AtomicU64,
    deallocations: AtomicU64,
    /// The requested bytes: the low word of their sum, which wraps.
    requested: AtomicU64,
    /// How many times half of the low word's range had passed at the last publication. The next publication
    /// comes sooner than the next half.
    halves: AtomicU64,
    largest: AtomicU64,
    /// The bytes that the thread may still allocate before it publishes: [`STEP`] after each publication, and
    /// at most twice that.
    room: AtomicI64,
    /// The least `room` that a free has seen since the last publication.
    least: AtomicI64,
    /// Requests up to this size are counted by one addition each, because they are not the largest.
    quick: AtomicU64,
    /// The most that `quick` may become.
    quick_most: u64,
}

/// The live bytes of all threads, as far as published. They have cache lines of their own, because all
/// threads write to them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Peak {
    live: AtomicI64,
    highest: AtomicI64,
}

/// The sum of many shards.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) allocations: u64,
    pub(crate) deallocations: u64,
    /// Requested bytes. 64 bits would be full after a few months.
    pub(crate) requested: u128,
    pub(crate) largest: u64,
    /// How far above its published net a shard has been since it published; may be negative.
    excess: i64,
    /// The buffers that were alive when counting began.
    before: u64,
}

/// Adds to a counter that only this thread writes. A reader that acquires the sum sees all that came before
/// it.
#[inline(always)]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Release);
}

/// A size as a difference. No device has more bytes than an `i64` can hold.
#[inline(always)]
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

impl Counters {
    /// Counters of a thread whose cache serves requests up to `quick_most` bytes. Without `counting`, all of
    /// those requests are quick from the start.
    pub(crate) fn new(quick_most: u64, counting: bool) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            allocations: zero(),
            deallocations: zero(),
            requested: zero(),
            halves: zero(),
            largest: zero(),
            room: AtomicI64::new(STEP),
            least: AtomicI64::new(STEP),
            quick: AtomicU64::new(if counting { 0 } else { quick_most }),
            quick_most,
        }
    }

    /// The largest request that [`Counters::quickly_allocated`] may count.
    #[inline(always)]
    pub(crate) fn quick(&self) -> u64 {
        self.quick.load(Relaxed)
    }

    /// Counts a request that is not the largest so far. Returns `false`, and counts nothing, if the thread
    /// should publish. Only the shard's thread may call this and the counting methods that follow.
    #[inline(always)]
    pub(crate) fn quickly_allocated(&self, size: u64) -> bool {
        let room = self.room.load(Relaxed);
        // `room` is above 0. The comparison is unsigned, so that no size is taken for a negative one.
        let quick = room as u64 > size;
        if quick {
            self.room.store(room - size as i64, Relaxed);
            bump(&self.allocations, 1);
            bump(&self.requested, size);
        }
        quick
    }

    /// Prepares to count a buffer that is given back. Returns `None` if the thread should publish.
    #[inline(always)]
    pub(crate) fn count_free(&self, size: u64) -> Option<Freeing<'_>> {
        let room = self.room.load(Relaxed);
        let after = room.wrapping_add(size as i64);
        ((after as u64) < 2 * STEP as u64).then_some(Freeing { counters: self, room, after })
    }

    /// Counts a request that was served.
    pub(crate) fn allocated(&self, size: u64, peak: &Peak) {
        self.largest_is_at_least(size);
        if !self.quickly_allocated(size) {
            self.publish_and(signed(size), peak);
            bump(&self.allocations, 1);
            bump(&self.requested, size);
        }
    }

    /// Counts the bytes that a buffer has grown by.
    pub(crate) fn grown(&self, old: u64, new: u64, peak: &Peak) {
        self.largest_is_at_least(new);
        let by = new - old;
        let room = self.room.load(Relaxed).saturating_sub(signed(by));
        if room > 0 {
            self.room.store(room, Relaxed);
        } else {
            self.publish_and(signed(by), peak);
        }
        bump(&self.requested, by);
    }

    #[inline(always)]
    fn largest_is_at_least(&self, size: u64) {
        if size > self.largest.load(Relaxed) {
            self.largest.store(size, Relaxed);
            self.quick.store(size.min(self.quick_most), Relaxed);
        }
    }

    /// Counts a buffer that was given back.
    pub(crate) fn freed(&self, size: u64, peak: &Peak) {
        match self.count_free(size) {
            Some(count) => count.done(),
            None => {
                self.publish_and(-signed(size), peak);
                bump(&self.deallocations, 1);
            }
        }
    }

    /// Publishes this thread's net bytes after a change.
    #[cold]
    fn publish_and(&self, change: i64, peak: &Peak) {
        let after = (STEP - self.room.load(Relaxed)).wrapping_add(change);
        peak.add(after, self.excess().max(after));
        self.room.store(STEP, Relaxed);
        self.least.store(STEP, Relaxed);
        self.halves.store((self.requested() >> 63) as u64, Release);
    }

    /// How far above its net at the last publication this thread has been since; may be negative.
    fn excess(&self) -> i64 {
        STEP - self.room.load(Relaxed).min(self.least.load(Relaxed))
    }

    /// The requested bytes, the high word included. Reads the halves first, so the low word is at most one
    /// half further.
    fn requested(&self) -> u128 {
        let halves = self.halves.load(Acquire);
        let low = self.requested.load(Acquire);
        let halves = halves + u64::from(halves & 1 != low >> 63);
        u128::from(halves) << 63 | u128::from(low & (u64::MAX >> 1))
    }

    /// Publishes this thread's net bytes.
    pub(crate) fn publish(&self, peak: &Peak) {
        self.publish_and(0, peak);
    }

    /// Starts counting anew. The caller keeps the shard's thread out.
    pub(crate) fn reset(&self, peak: &Peak) {
        self.publish(peak);
        let Self { allocations, deallocations, requested, halves, largest, quick, .. } = self;
        for counter in [allocations, deallocations, requested, halves, largest, quick] {
            counter.store(0, Relaxed);
        }
    }
}

/// A free that will be counted once it is done.
pub(crate) struct Freeing<'a> {
    counters: &'a Counters,
    room: i64,
    after: i64,
}

impl Freeing<'_> {
    #[inline(always)]
    pub(crate) fn done(self) {
        if self.room < self.counters.least.load(Relaxed) {
            self.counters.least.store(self.room, Relaxed);
        }
        self.counters.room.store(self.after, Relaxed);
        bump(&self.counters.deallocations, 1);
    }
}

impl Peak {
    /// Adds `bytes` to the live bytes, which in between were up to `highest` above their value before. The
    /// sum wraps as a shard's net does, so that the bytes that frees take away come out right.
    fn add(&self, bytes: i64, highest: i64) {
        let before = self.live.fetch_add(bytes, Relaxed);
        self.highest.fetch_max(before.wrapping_add(highest), Relaxed);
    }

    /// The most live bytes at once, given the sum of the shards. It is no less than the largest buffer.
    pub(crate) fn bytes(&self, totals: &Totals) -> u64 {
        let now = self.live.load(Relaxed).saturating_add(totals.excess);
        let highest = self.highest.load(Relaxed).max(now);
        u64::try_from(highest).unwrap_or(0).max(totals.largest)
    }

    /// Forgets the past. The caller has reset every shard.
    pub(crate) fn reset(&self) {
        self.highest.store(self.live.load(Relaxed), Relaxed);
    }
}

impl Totals {
    /// Sums `past`, which is what ended threads have counted, and these shards, whose threads go on. The
    /// caller keeps `past` as it is, and keeps shards from coming, going and being reset.
    pub(crate) fn of<'a>(past: &Self, shards: impl Iterator<Item = &'a Counters> + Clone) -> Self {
        let frees = || {
            past.deallocations + shards.clone().map(|shard| shard.deallocations.load(Acquire)).sum::<u64>()
        };
        let mut best = (u64::MAX, Self::default());
        for _ in 0..READINGS {
            let deallocations = frees();
            let mut seen = Self { deallocations, ..*past };
            // Bytes are read before the allocations that they belong to, which may be in another shard.
            seen.requested += shards.clone().map(Counters::requested).sum::<u128>();
            for shard in shards.clone() {
                seen.allocations += shard.allocations.load(Relaxed);
                seen.largest = seen.largest.max(shard.largest.load(Relaxed));
                seen.excess += shard.excess();
            }
            let meanwhile = frees() - deallocations;
            if meanwhile < best.0 {
                best = (meanwhile, seen);
            }
            if meanwhile == 0 {
                break;
            }
        }
        best.1
    }

    /// Counts a request without a shard, for threads that have none.
    pub(crate) fn allocated(&mut self, size: u64, peak: &Peak) {
        self.allocations += 1;
        self.requested += u128::from(size);
        self.largest = self.largest.max(size);
        peak.add(signed(size), signed(size));
    }

    /// Counts the bytes that a buffer has grown by, without a shard.
    pub(crate) fn grown(&mut self, old: u64, new: u64, peak: &Peak) {
        self.requested += u128::from(new - old);
        self.largest = self.largest.max(new);
        peak.add(signed(new - old), signed(new - old));
    }

    /// Counts a buffer that was given back, without a shard.
    pub(crate) fn freed(&mut self, size: u64, peak: &Peak) {
        self.deallocations += 1;
        peak.add(-signed(size), 0);
    }

    /// The buffers that are alive.
    pub(crate) fn active(&self) -> u64 {
        (self.before + self.allocations).saturating_sub(self.deallocations)
    }

    /// The bytes of the mean request, no more than those of the largest. Buffers that were allocated before
    /// counting began may have grown since.
    pub(crate) fn mean(&self) -> f64 {
        if self.allocations == 0 {
            return 0.0;
        }
        (self.requested as f64 / self.allocations as f64).min(self.largest as f64)
    }

    /// Counts from 0 again, with as many buffers alive.
    pub(crate) fn restart(&mut self) {
        *self = Self { before: self.active(), ..Self::default() };
    }
}

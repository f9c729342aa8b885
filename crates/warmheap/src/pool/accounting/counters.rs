//! Statistics that cost a few plain additions.
//!
//! Every thread counts in its own shard, which it alone writes; a snapshot adds the shards up.
//! Fields are atomics so that others may read them; a load and a store of the owner's own line is
//! one ordinary instruction, not a locked one.
//!
//! The peak of live bytes is the one figure that a sum cannot give. Each thread publishes its net
//! bytes whenever they have moved by [`STEP`], and remembers the highest point in between, which is
//! always reached just before a free: exact with one thread, and within two steps per thread with
//! more.
//!
//! Shards are read while their threads count. A free is published after all that came before it, the
//! allocation on whichever thread included, and frees are read first: so no sum has the end of a
//! buffer without its beginning.
#![forbid(unsafe_code)]

use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicI64, AtomicU64};

/// Bytes a thread's net may move before the others hear of it.
const STEP: i64 = 64 << 20;
/// How often shards are read for a moment at which no thread freed. The one with fewest frees will do.
const READINGS: usize = 8;

/// One thread's counters.
#[derive(Debug)]
pub(crate) struct Counters {
    allocations: AtomicU64,
    deallocations: AtomicU64,
    /// Bytes, the low word of their sum: it wraps,
    requested: AtomicU64,
    /// and so many times half of it had passed by the last publication, which comes sooner than the next half.
    halves: AtomicU64,
    largest: AtomicU64,
    /// Bytes that may still be allocated before the others hear of it: [`STEP`] after each
    /// publication, and at most twice that.
    room: AtomicI64,
    /// The least `room` seen by a free since.
    least: AtomicI64,
    /// Requests up to this size are counted by one addition each: they are not the largest.
    quick: AtomicU64,
    /// The most that `quick` may become.
    quick_most: u64,
}

/// Live bytes of all threads, as far as published. On cache lines of its own, as all threads write to it.
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
    /// Bytes. A few months fill 64 bits.
    pub(crate) requested: u128,
    pub(crate) largest: u64,
    /// How far above its published net a shard has been since it published; may be negative.
    excess: i64,
    /// Buffers that were alive when counting began.
    before: u64,
}

/// Adds to a counter that only this thread writes. A reader who acquires the sum sees all that came
/// before it.
#[inline(always)]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Release);
}

/// Sizes as differences: no device has more bytes than these can say.
#[inline(always)]
fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

impl Counters {
    /// Counters of a thread whose cache serves requests up to `quick_most` bytes. Where nothing is
    /// counted, all of those are quick from the start.
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

    /// Counts a request that is not the largest so far; `false`, and nothing counted, if the others
    /// should hear of it. Called by the shard's thread alone, as all that follow.
    #[inline(always)]
    pub(crate) fn quickly_allocated(&self, size: u64) -> bool {
        let room = self.room.load(Relaxed);
        // Room is above 0; said without a sign, so that no size is taken for a negative one.
        let quick = room as u64 > size;
        if quick {
            self.room.store(room - size as i64, Relaxed);
            bump(&self.allocations, 1);
            bump(&self.requested, size);
        }
        quick
    }

    /// Prepares to count a buffer given back; `None` if the others should hear of it.
    #[inline(always)]
    pub(crate) fn count_free(&self, size: u64) -> Option<Freeing<'_>> {
        let room = self.room.load(Relaxed);
        let after = room.wrapping_add(size as i64);
        ((after as u64) < 2 * STEP as u64).then_some(Freeing { counters: self, room, after })
    }

    /// Counts a request that was answered.
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

    /// Counts a buffer given back.
    pub(crate) fn freed(&self, size: u64, peak: &Peak) {
        match self.count_free(size) {
            Some(count) => count.done(),
            None => {
                self.publish_and(-signed(size), peak);
                bump(&self.deallocations, 1);
            }
        }
    }

    /// Tells the others of this thread's net bytes after a change.
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

    /// Requested bytes, the high word included. Halves are read first: then the low word is at most
    /// one further.
    fn requested(&self) -> u128 {
        let halves = self.halves.load(Acquire);
        let low = self.requested.load(Acquire);
        let halves = halves + u64::from(halves & 1 != low >> 63);
        u128::from(halves) << 63 | u128::from(low & (u64::MAX >> 1))
    }

    /// Tells the others of this thread's net bytes.
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
    /// Moves the live bytes, which have been so far above what they were in between. Wraps like a
    /// shard's net, so that what frees take away again comes out right.
    fn add(&self, bytes: i64, highest: i64) {
        let before = self.live.fetch_add(bytes, Relaxed);
        self.highest.fetch_max(before.wrapping_add(highest), Relaxed);
    }

    /// The most live bytes at once, given the sum of the shards: no less than the largest buffer's.
    pub(crate) fn bytes(&self, totals: &Totals) -> u64 {
        let now = self.live.load(Relaxed).saturating_add(totals.excess);
        let highest = self.highest.load(Relaxed).max(now);
        u64::try_from(highest).unwrap_or(0).max(totals.largest)
    }

    /// Forgets the past; every shard has been reset.
    pub(crate) fn reset(&self) {
        self.highest.store(self.live.load(Relaxed), Relaxed);
    }
}

impl Totals {
    /// What threads that are gone have counted, `past`, and these shards, whose threads go on.
    /// The caller keeps `past` as it is, and shards from coming, going and being reset.
    pub(crate) fn of<'a>(past: &Self, shards: impl Iterator<Item = &'a Counters> + Clone) -> Self {
        let frees = || {
            past.deallocations + shards.clone().map(|shard| shard.deallocations.load(Acquire)).sum::<u64>()
        };
        let mut best = (u64::MAX, Self::default());
        for _ in 0..READINGS {
            let deallocations = frees();
            let mut seen = Self { deallocations, ..*past };
            // Bytes before the allocations that they belong to, which may be another shard's.
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

    /// Counts a request without a shard: for threads that have none.
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

    /// Counts a buffer given back without a shard.
    pub(crate) fn freed(&mut self, size: u64, peak: &Peak) {
        self.deallocations += 1;
        peak.add(-signed(size), 0);
    }

    /// Buffers alive.
    pub(crate) fn active(&self) -> u64 {
        (self.before + self.allocations).saturating_sub(self.deallocations)
    }

    /// Bytes of the mean request, no more than those of the largest: buffers that were allocated before
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

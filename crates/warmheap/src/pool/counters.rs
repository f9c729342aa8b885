//! Statistics that cost a few plain additions.
//!
//! Every thread counts in its own shard, which it alone writes; a snapshot adds the shards up.
//! Fields are atomics so that others may read them; a load and a store of the owner's own line is
//! one ordinary instruction, not a locked one.
//!
//! The peak of live bytes is the one figure that a sum cannot give. Each thread publishes its net
//! bytes whenever they have moved by [`STEP`], and remembers the highest point in between, which is
//! always reached just before a free: exact with one thread, and within one step per thread with
//! more.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Bytes a thread's net may move before the others hear of it.
const STEP: i64 = 64 << 20;

/// One thread's counters.
#[derive(Debug)]
pub(crate) struct Counters {
    allocations: AtomicU64,
    deallocations: AtomicU64,
    requested: AtomicU64,
    largest: AtomicU64,
    /// Bytes that may still be allocated before the others hear of it: [`STEP`] after each
    /// publication, and at most twice that.
    room: AtomicI64,
    /// The least `room` seen by a free since.
    least: AtomicI64,
    published: AtomicI64,
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
    pub(crate) requested: u64,
    pub(crate) largest: u64,
    /// Live requested bytes, as far as this shard knows of them.
    pub(crate) net: i64,
    /// How far above its published net a shard has been since it published; may be negative.
    excess: i64,
    /// Buffers that were alive when counting began.
    before: u64,
}

/// Adds to a counter that only this thread writes.
#[inline(always)]
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
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
            largest: zero(),
            room: AtomicI64::new(STEP),
            least: AtomicI64::new(STEP),
            published: AtomicI64::new(0),
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
        let quick = room > size as i64;
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
        (after < 2 * STEP).then_some(Freeing { counters: self, room, after })
    }

    /// Counts a request that was answered.
    pub(crate) fn allocated(&self, size: u64, peak: &Peak) {
        self.largest_is_at_least(size);
        if !self.quickly_allocated(size) {
            self.publish_and(size as i64, peak);
            bump(&self.allocations, 1);
            bump(&self.requested, size);
        }
    }

    /// Counts the bytes that a buffer has grown by.
    pub(crate) fn grown(&self, old: u64, new: u64, peak: &Peak) {
        self.largest_is_at_least(new);
        let by = new - old;
        let room = self.room.load(Relaxed).wrapping_sub(by as i64);
        if room > 0 {
            self.room.store(room, Relaxed);
        } else {
            self.publish_and(by as i64, peak);
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
                self.publish_and(-(size as i64), peak);
                bump(&self.deallocations, 1);
            }
        }
    }

    /// Tells the others of this thread's net bytes after a change.
    #[cold]
    fn publish_and(&self, change: i64, peak: &Peak) {
        let (net, published) = (self.net(), self.published.load(Relaxed));
        let after = net.wrapping_add(change);
        let highest = self.high().max(after);
        let before = peak.live.fetch_add(after - published, Relaxed);
        peak.highest.fetch_max(before + highest - published, Relaxed);
        self.restart(after);
    }

    /// Requested bytes allocated less requested bytes freed, by this thread.
    fn net(&self) -> i64 {
        self.published.load(Relaxed) + STEP - self.room.load(Relaxed)
    }

    /// The highest net since it was last published.
    fn high(&self) -> i64 {
        self.published.load(Relaxed) + STEP - self.least.load(Relaxed).min(self.room.load(Relaxed))
    }

    /// Tells the others of this thread's net bytes.
    pub(crate) fn publish(&self, peak: &Peak) {
        self.publish_and(0, peak);
    }

    fn restart(&self, net: i64) {
        self.published.store(net, Relaxed);
        self.room.store(STEP, Relaxed);
        self.least.store(STEP, Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            allocations: self.allocations.load(Relaxed),
            deallocations: self.deallocations.load(Relaxed),
            requested: self.requested.load(Relaxed),
            largest: self.largest.load(Relaxed),
            net: self.net(),
            excess: self.high() - self.published.load(Relaxed),
            before: 0,
        }
    }

    /// Starts counting anew. The caller keeps the shard's thread out.
    pub(crate) fn reset(&self, peak: &Peak) {
        let counters = [&self.allocations, &self.deallocations, &self.requested, &self.largest, &self.quick];
        for counter in counters {
            counter.store(0, Relaxed);
        }
        let net = self.net();
        peak.live.fetch_add(net - self.published.load(Relaxed), Relaxed);
        self.restart(net);
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
    /// Moves the live bytes without a shard (a thread that is past its end frees a buffer).
    fn add(&self, bytes: i64) {
        let before = self.live.fetch_add(bytes, Relaxed);
        self.highest.fetch_max(before + bytes.max(0), Relaxed);
    }

    /// The most live bytes at once, given the sum of the shards.
    pub(crate) fn bytes(&self, totals: &Totals) -> u64 {
        let now = self.live.load(Relaxed) + totals.excess;
        self.highest.load(Relaxed).max(now).max(0) as u64
    }

    /// Forgets the past; every shard has been reset.
    pub(crate) fn reset(&self) {
        self.highest.store(self.live.load(Relaxed), Relaxed);
    }
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.allocations += other.allocations;
        self.deallocations += other.deallocations;
        self.requested += other.requested;
        self.largest = self.largest.max(other.largest);
        self.net += other.net;
        self.excess += other.excess;
        self.before = self.before.wrapping_add(other.before);
    }

    /// Counts a request without a shard: for threads that have none.
    pub(crate) fn allocated(&mut self, size: u64, peak: &Peak) {
        self.allocations += 1;
        self.requested += size;
        self.largest = self.largest.max(size);
        self.net += size as i64;
        peak.add(size as i64);
    }

    /// Counts the bytes that a buffer has grown by, without a shard.
    pub(crate) fn grown(&mut self, old: u64, new: u64, peak: &Peak) {
        let by = new - old;
        self.requested += by;
        self.largest = self.largest.max(new);
        self.net += by as i64;
        peak.add(by as i64);
    }

    /// Counts a buffer given back without a shard.
    pub(crate) fn freed(&mut self, size: u64, peak: &Peak) {
        self.deallocations += 1;
        self.net -= size as i64;
        peak.add(-(size as i64));
    }

    /// Buffers alive. One thread's share is negative (wrapping) if it frees what others allocate.
    pub(crate) fn active(&self) -> u64 {
        self.before.wrapping_add(self.allocations).wrapping_sub(self.deallocations)
    }

    /// Counts from 0 again, with `active` buffers alive.
    pub(crate) fn restart(&mut self, active: u64) {
        *self = Self { net: self.net, before: active, ..Self::default() };
    }
}

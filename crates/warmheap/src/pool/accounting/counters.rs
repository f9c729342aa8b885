//! Statistics that cost a few plain additions.
//!
//! Every thread counts in its own shard, which it alone writes. A snapshot adds the shards up. The fields are
//! atomics so that other threads may read them. The owner updates its own line with one ordinary instruction
//! and must never need a locked one.
//!
//! The peak of live bytes is the one figure that a sum cannot give. Each thread claims bytes: its highest
//! point so far, and [`AHEAD`] more. The sum of all claims is never below what is alive. A thread that
//! allocates past its claim claims anew, as does one that has come down from its highest point by
//! [`Counters::width`]. So the peak is never too low, and exact with one thread. With more it is too high by at
//! most what the other threads have freed since their highest points, and a little more.
//!
//! A snapshot between a claim and its shard reads up to [`AHEAD`] too much for that thread.
//!
//! A thread whose bytes go one way, as a consumer's do, keeps a narrow width. A thread whose bytes rise and
//! fall soon has its whole swing within the width, and then no longer writes to what all threads share.
//!
//! Snapshots read the shards while their threads count. A free is published after all that came before it,
//! including the allocation, on whichever thread that was. Snapshots read the frees first, so no sum has the
//! end of a buffer without its beginning.
#![forbid(unsafe_code)]

#[cfg(all(test, loom))]
mod model;

use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicI64, AtomicU64, fence};

/// The bytes that a thread claims above its highest point.
const AHEAD: i64 = 1 << 20;
/// The least and the most bytes by which a thread may come down before it claims less.
const NARROW: i64 = AHEAD;
const WIDE: i64 = 128 << 20;
/// The factor of the width when a thread's bytes turn round.
const WIDEN: i64 = 16;
/// After so many claims in one direction a thread halves its width.
const RUN: i64 = 16;
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
    /// The bytes that the thread has claimed and does not use. Above [`AHEAD`], the rest is how far the thread
    /// has come down from its highest point.
    room: AtomicI64,
    /// How far the thread may come down before it claims less.
    width: AtomicI64,
    /// `width` and [`AHEAD`].
    most_room: AtomicI64,
    /// How many claims in a row were for rising bytes, or, below 0, for falling ones.
    run: AtomicI64,
    /// Requests up to this size are counted by one addition each, because they are not the largest.
    quick: AtomicU64,
    /// The most that `quick` may become.
    quick_most: u64,
}

/// The live bytes of all threads, with what each has claimed ahead. They have cache lines of their own,
/// because all threads write to them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Peak {
    claimed: AtomicI64,
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
    /// The claimed bytes above the highest points of the shards.
    unused: i64,
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
            room: AtomicI64::new(0),
            width: AtomicI64::new(NARROW),
            most_room: AtomicI64::new(AHEAD + NARROW),
            run: AtomicI64::new(0),
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
        // `room` is not negative. The comparison is unsigned, so that no size is taken for a negative one.
        let quick = room as u64 > size;
        if quick {
            self.room.store(room - size as i64, Relaxed);
            bump(&self.allocations, 1);
            bump(&self.requested, size);
        }
        quick
    }

    /// Prepares to count a buffer that is given back. Returns `None` if the thread should claim anew first: it
    /// is above its highest point so far, or far below.
    #[inline(always)]
    pub(crate) fn count_free(&self, size: u64) -> Option<Freeing<'_>> {
        let room = self.room.load(Relaxed);
        // The comparison is unsigned, so that it is false above the highest point as well.
        let near = (room.wrapping_sub(AHEAD) as u64) < self.width.load(Relaxed) as u64;
        near.then_some(Freeing { counters: self, after: room.wrapping_add(size as i64) })
    }

    /// Counts a request that was served.
    pub(crate) fn allocated(&self, size: u64, peak: &Peak) {
        self.largest_is_at_least(size);
        if !self.quickly_allocated(size) {
            self.claim_anew(signed(size), peak);
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
            self.claim_anew(signed(by), peak);
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
    #[inline(always)]
    pub(crate) fn freed(&self, size: u64, peak: &Peak) {
        let room = self.room.load(Relaxed);
        let after = room.wrapping_add(size as i64);
        // The second comparison is unsigned, so that no size wraps around.
        if room >= AHEAD && (after as u64) < self.most_room.load(Relaxed) as u64 {
            Freeing { counters: self, after }.done();
        } else {
            self.freed_far(size, peak);
        }
    }

    /// Counts a free at the thread's highest point, or one that takes it far below.
    #[cold]
    fn freed_far(&self, size: u64, peak: &Peak) {
        if self.room.load(Relaxed) < AHEAD {
            self.claim(0, AHEAD, peak);
        }
        let after = self.room.load(Relaxed).saturating_add(signed(size));
        if after < self.most_room.load(Relaxed) {
            self.room.store(after, Relaxed);
        } else {
            self.claim_anew(-signed(size), peak);
        }
        bump(&self.deallocations, 1);
    }

    /// Changes this thread's claim for bytes that change now.
    #[cold]
    fn claim_anew(&self, change: i64, peak: &Peak) {
        let width = self.next_width(change);
        self.width.store(width, Relaxed);
        self.most_room.store(AHEAD + width, Relaxed);
        // A thread that comes down may rise again by half the width, but not past its highest point.
        let up = if change < 0 { width / 2 } else { 0 };
        let claimed = self.room.load(Relaxed).saturating_sub(change);
        self.claim(change, (AHEAD + up).min(claimed.max(AHEAD)), peak);
    }

    /// Claims the bytes that the thread has after a change, and `room` more.
    fn claim(&self, change: i64, room: i64, peak: &Peak) {
        let before = self.room.load(Relaxed);
        peak.add(change.wrapping_add(room - before), -self.unused());
        // A snapshot that sees the new room, or a later one, sees the peak that was added before it.
        fence(Release);
        self.room.store(room, Relaxed);
        self.halves.store((self.requested() >> 63) as u64, Release);
    }

    /// The width after a change. It grows when the thread's bytes turn round, and shrinks while they go on in
    /// one direction.
    fn next_width(&self, change: i64) -> i64 {
        let (width, run) = (self.width.load(Relaxed), self.run.load(Relaxed));
        let direction = if change > 0 { 1 } else { -1 };
        let (width, run) = match run * direction {
            ..0 => (width * WIDEN, direction),
            RUN.. => (width / 2, direction),
            _ => (width, run + direction),
        };
        self.run.store(run, Relaxed);
        width.clamp(NARROW, WIDE)
    }

    /// The bytes between the thread's claim and its highest point.
    fn unused(&self) -> i64 {
        self.room.load(Acquire).min(AHEAD)
    }

    /// The requested bytes, the high word included. Reads the halves first, so the low word is at most one
    /// half further.
    fn requested(&self) -> u128 {
        let halves = self.halves.load(Acquire);
        let low = self.requested.load(Acquire);
        let halves = halves + u64::from(halves & 1 != low >> 63);
        u128::from(halves) << 63 | u128::from(low & (u64::MAX >> 1))
    }

    /// Gives back what the thread has claimed and does not use.
    pub(crate) fn publish(&self, peak: &Peak) {
        self.claim(0, 0, peak);
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
    after: i64,
}

impl Freeing<'_> {
    #[inline(always)]
    pub(crate) fn done(self) {
        self.counters.room.store(self.after, Relaxed);
        bump(&self.counters.deallocations, 1);
    }
}

impl Peak {
    /// Adds `bytes` to the claimed bytes. What was alive until now was at most `above` more than them; `above`
    /// may be negative. The sum wraps as a thread's does, so that what frees take away comes out right.
    fn add(&self, bytes: i64, above: i64) {
        let before = self.claimed.fetch_add(bytes, Relaxed);
        self.highest.fetch_max(before.wrapping_add(above), Relaxed);
    }

    /// The claimed bytes. A snapshot reads them before the shards: bytes that a thread gives back in between
    /// are then in the peak.
    pub(crate) fn claimed(&self) -> i64 {
        self.claimed.load(Acquire)
    }

    /// The most live bytes at once, given what was claimed, the sum of the shards, and the most that was
    /// `held` from the device. It is no less than the largest buffer, and never falls.
    pub(crate) fn bytes(&self, claimed: i64, totals: &Totals, held: u64) -> u64 {
        let now = claimed.saturating_sub(totals.unused).min(i64::try_from(held).unwrap_or(i64::MAX));
        let highest = self.highest.fetch_max(now, Relaxed).max(now);
        u64::try_from(highest).unwrap_or(0).min(held).max(totals.largest)
    }

    /// Forgets the past. The caller has reset every shard.
    pub(crate) fn reset(&self) {
        self.highest.store(self.claimed.load(Relaxed), Relaxed);
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
                seen.unused += shard.unused();
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

    /// The buffers that were alive when counting began, and those allocated since.
    pub(crate) fn acquired(&self) -> u64 {
        self.before + self.allocations
    }

    /// The buffers that are alive.
    pub(crate) fn active(&self) -> u64 {
        self.acquired().saturating_sub(self.deallocations)
    }

    /// The frees, less those of the buffers that were alive when counting began. Those are taken to be freed
    /// first, because no buffer says when it was allocated.
    pub(crate) fn later_deallocations(&self) -> u64 {
        self.deallocations.saturating_sub(self.before)
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

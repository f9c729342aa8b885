//! Compaction: movable buffers are packed together, so that what lay between them is in one piece.
//!
//! All heaps are looked at as one line, the fullest first: what lies furthest back moves into holes
//! further forward, until all were looked at or the budget is spent. So the emptiest heaps empty first,
//! and within a heap the free memory gathers at its end. Every move goes forward, so it ends.
//!
//! Nothing waits for compaction but a pin of the very buffer that is being copied: no lock of a heap
//! or of growth is held meanwhile, and a buffer that is pinned or in flight is passed over. A copy
//! that fails leaves its buffer where it was. What came free stays with the pool; giving it back is
//! the business of `trim`.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Pool;
use super::buffer::Buffer;
use super::heap::{Heap, Slot};
use super::heaps::Want;
use super::lock;
use super::movable::Place;
use super::notes::Note;
use super::range::Range;
use super::shared::Shared;
use crate::config::Compaction;
use crate::device::DeviceError;
use crate::sync::{CheckedMutex, Mutex};

/// A step of the pool's own that has more to do rests so many times as long as it took.
const REST: u32 = 10;

/// How much one compaction may do. The buffer that uses it up is still moved whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionBudget {
    /// Bytes copied.
    pub bytes: u64,
    /// Time taken.
    pub time: Duration,
}

impl CompactionBudget {
    /// Until every buffer was looked at.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { bytes: u64::MAX, time: Duration::MAX }
    }
}

impl Compaction {
    fn budget(&self) -> CompactionBudget {
        CompactionBudget { bytes: self.step_bytes, time: self.step_time }
    }
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CompactionReport {
    /// Buffers that lie elsewhere now.
    pub moved_buffers: u64,
    /// Their bytes.
    pub moved_bytes: u64,
    /// Bytes that came free in whole pages, where heaps grow in place, or in whole heaps: what
    /// [`Pool::trim`] can give back now and could not before. What other threads took meanwhile is
    /// missing.
    pub recovered_bytes: u64,
    /// Buffers passed over because they were pinned or in flight.
    pub busy_buffers: u64,
    /// Every buffer was looked at; `false` if the budget was spent before.
    pub finished: bool,
}

/// The pool's movable buffers.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    places: Mutex<Vec<Weak<Place>>>,
    /// Held by the one thread that compacts, while it copies too.
    at_work: CheckedMutex,
    done: Mutex<Done>,
}

/// What compactions have done since statistics were reset.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) compactions: u64,
    pub(crate) moved_buffers: u64,
    pub(crate) moved_bytes: u64,
    pub(crate) recovered_bytes: u64,
}

impl Compactor {
    /// Takes a movable buffer into the list. Those that are gone leave it, now and then.
    pub(crate) fn watch(&self, place: &Arc<Place>) {
        let mut places = lock(&self.places);
        if places.len() == places.capacity() {
            places.retain(|known| known.strong_count() > 0);
        }
        places.push(Arc::downgrade(place));
    }

    /// Whether the calling thread compacts.
    pub(crate) fn is_held_here(&self) -> bool {
        self.at_work.is_held_here()
    }

    pub(crate) fn done(&self) -> Done {
        *lock(&self.done)
    }

    pub(crate) fn reset(&self) {
        *lock(&self.done) = Done::default();
    }

    fn note(&self, report: &CompactionReport) {
        let mut done = lock(&self.done);
        done.compactions += 1;
        done.moved_buffers += report.moved_buffers;
        done.moved_bytes += report.moved_bytes;
        done.recovered_bytes += report.recovered_bytes;
    }
}

/// Where a range stands in the line of heaps, and its address there: the lower, the further forward.
type Position = (usize, u64);

impl Pool {
    /// Packs movable buffers, so that the free memory between them becomes useful: heaps empty, and
    /// holes join. Contents stay. Threads that allocate and free go on meanwhile; one that pins the
    /// buffer being copied waits for that copy. Ranges that threads hold back are given up first.
    ///
    /// The memory stays with the pool, for larger requests, or for [`Pool::trim`] to give back.
    ///
    /// # Errors
    /// The device's, if it cannot copy. The buffer is where it was, those before it have moved.
    pub fn compact(&self, budget: CompactionBudget) -> Result<CompactionReport, DeviceError> {
        self.here()?;
        self.and_speak(|shared| shared.compact(budget))
    }
}

impl Shared {
    pub(crate) fn compact(&self, budget: CompactionBudget) -> Result<CompactionReport, DeviceError> {
        let at_work = self.compactor.at_work.lock();
        let _at_work = at_work.ok_or(DeviceError::WithinCall { call: "Pool::compact" })?;
        let mut report = CompactionReport::default();
        self.compact_alone(budget, &mut report)?;
        Ok(report)
    }

    /// Whether moving buffers may make room for a request: there is enough, in pieces. Where heaps
    /// grow in place, pages move instead.
    pub(crate) fn may_compact_for(&self, want: Want) -> bool {
        self.config.compaction.enabled
            && !self.is_elastic()
            && self.heaps.free() >= want.len.into()
            && !lock(&self.compactor.places).is_empty()
    }

    /// One step of compaction, for a request that found no room; `false` if nothing has moved.
    pub(crate) fn compact_unless_busy(&self) -> bool {
        let Some(_at_work) = self.compactor.at_work.try_lock() else { return false };
        let mut report = CompactionReport::default();
        if let Err(error) = self.compact_alone(self.config.compaction.budget(), &mut report) {
            self.notes.add(Note::CouldNotMove(error));
        }
        report.moved_buffers > 0
    }

    /// As [`Shared::compact`], with a report also of what was done before a failure; nobody else compacts.
    fn compact_alone(
        &self,
        budget: CompactionBudget,
        report: &mut CompactionReport,
    ) -> Result<(), DeviceError> {
        self.poll_queues();
        // Ranges that threads keep for later look as if they were in use.
        self.flush_caches();
        let (held, spare) = (self.driver.reserved(), self.spare_bytes());
        let packed = self.pack(budget, report);
        let free = self.spare_bytes() + held;
        report.recovered_bytes = free.saturating_sub(spare + self.driver.reserved());
        self.compactor.note(report);
        packed
    }

    /// A step of the pool's own, if a heap's fragmentation calls for it. Answers how long it is until
    /// the next.
    pub(crate) fn compact_a_little(&self) -> Result<Duration, DeviceError> {
        let Compaction { threshold, interval, .. } = self.config.compaction;
        if !self.is_any_fragmented(threshold) {
            return Ok(interval);
        }
        let begun = Instant::now();
        // Another thread may be at it.
        let Some(_at_work) = self.compactor.at_work.try_lock() else { return Ok(interval) };
        let mut report = CompactionReport::default();
        self.compact_alone(self.config.compaction.budget(), &mut report)?;
        let goes_on = !report.finished && report.moved_buffers > 0;
        Ok(if goes_on { (begun.elapsed() * REST).min(interval) } else { interval })
    }

    /// Whether more than this share of some heap's free memory lies outside its longest free block.
    fn is_any_fragmented(&self, threshold: f64) -> bool {
        let fragmentation = |heap: &Heap| {
            let free = f64::from(heap.space.free_len());
            if free > 0.0 { 1.0 - f64::from(heap.space.largest_free()) / free } else { 0.0 }
        };
        let mut slots = self.heaps.slots().iter();
        slots.any(|slot| slot.with(|open| open.heap().is_some_and(|heap| fragmentation(heap) > threshold)))
    }

    /// Moves buffers forward, the last one first.
    fn pack(&self, budget: CompactionBudget, report: &mut CompactionReport) -> Result<(), DeviceError> {
        let begun = Instant::now();
        let line = self.line_up();
        let mut candidates = self.movable(&line);
        candidates.sort_unstable_by_key(|(position, _)| Reverse(*position));
        for ((rank, _), place) in candidates {
            if report.moved_bytes >= budget.bytes || begun.elapsed() >= budget.time {
                return Ok(());
            }
            let Some(place) = place.upgrade() else { continue };
            let Some(mut buffer) = place.to_move() else {
                report.busy_buffers += 1;
                continue;
            };
            let before = line.get(..rank).unwrap_or(&line);
            if let Some(range) = self.find_further_forward(&buffer, place.align, before) {
                self.move_buffer(&mut buffer, range)?;
                place.has_moved();
                report.moved_buffers += 1;
                report.moved_bytes += buffer.size();
            }
        }
        report.finished = true;
        Ok(())
    }

    /// All heaps, the fullest first.
    fn line_up(&self) -> Vec<u16> {
        let used = |heap| self.heaps.slot(heap).with(|open| open.heap().map(|heap| heap.space.used_len()));
        let heaps = 0..self.heaps.slots().len() as u16;
        let mut line: Vec<_> = heaps.filter_map(|heap| Some((Reverse(used(heap)?), heap))).collect();
        line.sort_unstable();
        line.into_iter().map(|(_, heap)| heap).collect()
    }

    /// The movable buffers that nobody moves now, with their positions. What came straight from the
    /// device stands behind all heaps.
    fn movable(&self, line: &[u16]) -> Vec<(Position, Weak<Place>)> {
        let places = lock(&self.compactor.places).clone();
        let position = |place: &Weak<Place>| {
            let place = place.upgrade()?;
            let buffer = place.look()?;
            let range = buffer.range();
            let in_line = (!range.is_fallback()).then(|| line.iter().position(|heap| *heap == range.heap()));
            Some((in_line.flatten().unwrap_or(usize::MAX), range.address))
        };
        places.into_iter().filter_map(|place| Some((position(&place)?, place))).collect()
    }

    /// A range for a buffer in one of the heaps `before` its own, or further forward in that.
    fn find_further_forward(&self, buffer: &Buffer, align: u64, before: &[u16]) -> Option<Range> {
        let range = buffer.range();
        let want = self.want(buffer.size(), align.max(1 << self.shift))?;
        let mut fitting = before.iter().filter(|heap| self.is_for_class(**heap, want.class));
        let found = fitting.find_map(|heap| self.heaps.slot(*heap).with(|open| open.allocate(want)));
        let found = found.or_else(|| {
            let slot = (!range.is_fallback()).then(|| self.heaps.slot(range.heap()))?;
            slot.with(|open| open.allocate_below(want, range.address))
        })?;
        // Nobody's so far.
        found.tenant().resize(0);
        Some(found)
    }

    /// Copies a buffer into `range` and gives back what it leaves; or `range`, if that fails.
    fn move_buffer(&self, buffer: &mut Buffer, range: Range) -> Result<(), DeviceError> {
        let size = buffer.size();
        let copied = self.copy(buffer.range(), &range, size);
        let left = if copied.is_ok() { buffer.move_to(range) } else { range };
        self.clean_and_put_back(left, size);
        copied
    }

    /// What could go back to the device as it is: whole pages, or whole heaps where pages cannot.
    fn spare_bytes(&self) -> u64 {
        let page = self.page();
        let spare = |slot: &Slot| {
            slot.with(|open| match open.heap() {
                Some(heap) if heap.elastic => heap.space.free_pages(page),
                Some(heap) if heap.space.used_blocks() == 0 => heap.space.free_len(),
                _ => 0,
            })
        };
        self.bytes(self.heaps.slots().iter().map(|slot| u64::from(spare(slot))).sum())
    }
}

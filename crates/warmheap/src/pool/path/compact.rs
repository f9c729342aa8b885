//! Compaction: packs movable buffers together, so that the free memory between them joins.
//!
//! It owns the order of the moves. All heaps form one line, the fullest first. What lies furthest back moves
//! into free blocks further forward, until every buffer was considered or the budget is spent. So the
//! emptiest heaps empty first, and within a heap the free memory gathers at its end. Every move goes forward,
//! so compaction ends.
//!
//! It never makes a thread wait, except for a pin of the very buffer that is being copied. It copies without
//! a heap's lock and without the growth lock, and passes over a buffer that is pinned or in flight. If a copy
//! fails, the buffer stays where it was. The freed memory stays with the pool: `trim` gives it back.
#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::sync::Weak;
use std::time::{Duration, Instant};

use crate::Pool;
use crate::config::Compaction;
use crate::device::DeviceError;
use crate::offsets::segments;
use crate::offsets::segments::SegmentLevels;
use crate::pool::core::buffer::Buffer;
use crate::pool::core::movables::Place;
use crate::pool::core::notes::Note;
use crate::pool::core::{Core, caches, closing, quarantine, queues};
use crate::pool::heaps::arena::Arena;
use crate::pool::heaps::span::{Span, SpanRequest};
use crate::pool::interface::compaction::{CompactionBudget, CompactionReport};
use crate::sync::lock;

/// After a step of the pool's own that leaves more to do, the thread pauses for this many times the step's
/// length.
const REST: u32 = 10;

impl Compaction {
    fn budget(&self) -> CompactionBudget {
        CompactionBudget { bytes: self.step_bytes, time: self.step_time }
    }
}

/// A span's position: the place of its heap in the line, and its address there. The lower, the further
/// forward.
type Position = (usize, u64);

impl Pool {
    /// Packs movable buffers, so that the free memory between them becomes useful: heaps empty, and free
    /// blocks join. Contents stay. Other threads may allocate and free meanwhile; a thread that pins the
    /// buffer being copied waits for that copy. The pool gives up the spans in caches first.
    ///
    /// The memory stays with the pool, for larger requests, or for [`Pool::trim`] to give back.
    ///
    /// # Errors
    /// The device's error, if it cannot copy. That buffer is where it was; those before it have moved.
    pub fn compact(&self, budget: CompactionBudget) -> Result<CompactionReport, DeviceError> {
        self.here()?;
        self.and_speak(|shared| compact(shared, budget))
    }
}

pub(crate) fn compact(core: &Core, budget: CompactionBudget) -> Result<CompactionReport, DeviceError> {
    let at_work = core.compactor.at_work.lock();
    let _at_work = at_work.ok_or(DeviceError::WithinCall { call: "Pool::compact" })?;
    let mut report = CompactionReport::default();
    compact_alone(core, budget, &mut report)?;
    Ok(report)
}

/// Whether moving buffers may make room for a request: enough memory is free, in pieces. Where heaps grow in
/// place, pages move instead.
pub(crate) fn may_compact_for(core: &Core, want: SpanRequest) -> bool {
    core.config.compaction.enabled
        && !core.sizing.is_in_place()
        && core.heaps.free() >= want.len.into()
        && !lock(&core.compactor.places).is_empty()
}

/// Runs one step of compaction for a request that found no room. Returns `false` if nothing has moved.
pub(crate) fn compact_unless_busy(core: &Core) -> bool {
    let Some(_at_work) = core.compactor.at_work.try_lock() else { return false };
    let mut report = CompactionReport::default();
    if let Err(error) = compact_alone(core, core.config.compaction.budget(), &mut report) {
        core.notes.add(Note::CouldNotMove(error));
    }
    report.moved_buffers > 0
}

/// As [`compact`], with a report also of what was done before a failure. The caller holds the compactor's
/// lock.
fn compact_alone(
    core: &Core,
    budget: CompactionBudget,
    report: &mut CompactionReport,
) -> Result<(), DeviceError> {
    queues::poll_queues(core);
    // Spans in caches look as if they were in use.
    caches::flush_caches(core);
    let (held, spare) = (core.driver.reserved(), spare_bytes(core));
    let packed = pack(core, budget, report);
    let free = spare_bytes(core) + held;
    report.recovered_bytes = free.saturating_sub(spare + core.driver.reserved());
    core.compactor.note(report);
    packed
}

/// Runs a step of the pool's own, if a heap's fragmentation calls for it. Returns the time until the next.
pub(crate) fn compact_a_little(core: &Core) -> Result<Duration, DeviceError> {
    let Compaction { threshold, interval, .. } = core.config.compaction;
    if !is_any_fragmented(core, threshold) {
        return Ok(interval);
    }
    let begun = Instant::now();
    // Another thread may be compacting.
    let Some(_at_work) = core.compactor.at_work.try_lock() else { return Ok(interval) };
    let mut report = CompactionReport::default();
    compact_alone(core, core.config.compaction.budget(), &mut report)?;
    let goes_on = !report.finished && report.moved_buffers > 0;
    Ok(if goes_on { (begun.elapsed() * REST).min(interval) } else { interval })
}

/// Whether more than this share of some heap's free memory lies outside its longest free block.
fn is_any_fragmented(core: &Core, threshold: f64) -> bool {
    let fragmentation = |SegmentLevels { free, largest_free, .. }| {
        if free > 0 { 1.0 - f64::from(largest_free) / f64::from(free) } else { 0.0 }
    };
    let mut arenas = core.heaps.arenas().iter();
    arenas.any(|arena| {
        arena.with(|open| open.heap_levels().any(|(_, levels)| fragmentation(levels) > threshold))
    })
}

/// Moves buffers forward, the last one first.
fn pack(core: &Core, budget: CompactionBudget, report: &mut CompactionReport) -> Result<(), DeviceError> {
    let line = line_up(core);
    let mut candidates = movable(core, &line);
    candidates.sort_unstable_by_key(|(position, _)| Reverse(*position));
    // Time counts from here. Otherwise a step might spend all of it on lining up, and no step would move
    // anything where there are many heaps or the machine is slow.
    let begun = Instant::now();
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
        if let Some(span) = find_further_forward(core, &buffer, place.align, before) {
            move_buffer(core, &mut buffer, span)?;
            place.has_moved();
            report.moved_buffers += 1;
            report.moved_bytes += buffer.size();
        }
    }
    report.finished = true;
    Ok(())
}

/// A heap: its arena, and the number of its segment there.
type HeapPlace = (u16, u16);

/// All heaps, the fullest first.
fn line_up(core: &Core) -> Vec<HeapPlace> {
    let mut line = Vec::new();
    for arena in core.heaps.arenas() {
        let place =
            |(segment, levels): (u16, SegmentLevels)| (Reverse(levels.used), (arena.index(), segment));
        arena.with(|open| line.extend(open.heap_levels().map(place)));
    }
    line.sort_unstable();
    line.into_iter().map(|(_, heap)| heap).collect()
}

/// The heap that a span lies in; `None` if it came straight from the device.
fn heap_of(core: &Core, span: &Span) -> Option<HeapPlace> {
    let arena = (!span.is_fallback()).then(|| span.arena())?;
    let segment =
        core.heaps.arena(arena).with(|open| segments::of_block(open.space(), span.record().block()));
    Some((arena, segment))
}

/// The movable buffers that no thread moves now, with their positions. Buffers that came straight from the
/// device stand behind all heaps.
fn movable(core: &Core, line: &[HeapPlace]) -> Vec<(Position, Weak<Place>)> {
    let places = lock(&core.compactor.places).clone();
    let position = |place: &Weak<Place>| {
        let place = place.upgrade()?;
        let buffer = place.look()?;
        let span = buffer.span();
        let heap = heap_of(core, span);
        let in_line = heap.and_then(|heap| line.iter().position(|other| *other == heap));
        Some((in_line.unwrap_or(usize::MAX), span.address))
    };
    places.into_iter().filter_map(|place| Some((position(&place)?, place))).collect()
}

/// Returns a span for a buffer in one of the heaps `before` its own, or further forward in its own.
fn find_further_forward(core: &Core, buffer: &Buffer, align: u64, before: &[HeapPlace]) -> Option<Span> {
    let span = buffer.span();
    let want = core.want(buffer.size(), align.max(1 << core.shift))?;
    let cut = |(arena, segment): HeapPlace, limit| {
        core.heaps.arena(arena).with(|open| open.allocate_low(segment, want, limit))
    };
    let mut fitting = before.iter().filter(|(arena, _)| core.is_for_class(*arena, want.class));
    let found = fitting.find_map(|heap| cut(*heap, u64::MAX));
    let found = found.or_else(|| cut(heap_of(core, span)?, span.address))?;
    // No buffer holds the span yet.
    found.record().resize(0);
    Some(found)
}

/// Copies a buffer into `range` and gives back the span that it leaves. If the copy fails, gives back
/// `range`.
fn move_buffer(core: &Core, buffer: &mut Buffer, span: Span) -> Result<(), DeviceError> {
    let size = buffer.size();
    let copied = core.copy(buffer.span(), &span, size);
    let left = if copied.is_ok() { buffer.move_to(span) } else { span };
    closing::has_moved(core);
    quarantine::clean_and_put_back(core, left, size);
    copied
}

/// The bytes that could go back to the device as they are: whole pages, or whole heaps where pages cannot.
fn spare_bytes(core: &Core) -> u64 {
    let page = core.page();
    let spare = |arena: &Arena| {
        arena.with(|open| match core.sizing.is_in_place() {
            true => u64::from(open.space().free_pages(page)),
            false => segments::unused_len(open.space()),
        })
    };
    core.bytes(core.heaps.arenas().iter().map(spare).sum())
}

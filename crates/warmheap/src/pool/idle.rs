//! Memory that nobody has needed for a while, and its way back to the device.
//!
//! The pool is looked at now and then. The least that was free in a heap over a row of looks is what
//! no request missed in that time: a spike's leftover, not the breathing of a steady load. Ranges that a
//! thread has kept without touching its cache go back to their heaps first.
//!
//! Owns what is known from earlier looks. A look never waits for a thread that makes memory
//! available, and lets such threads in between two steps; what the settings promise stays, and so
//! does memory that was put to rest.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::heap::Heap;
use super::lock;
use super::notes::Note;
use super::shared::Shared;
use super::try_lock;
use crate::config::MIB;
use crate::device::DeviceError;

/// Looks in the time after which idle memory is to be gone: those of a cache, those of the heaps that
/// its ranges went back to, and one because a row begins between two looks.
const LOOKS: u32 = (STILL + ROW) as u32 + 1;
/// A cache that was the same at so many looks is given up.
const STILL: usize = 3;
/// What was free for so many looks goes back.
const ROW: usize = 8;
/// Less than one part in this many of what is held is not worth a call of the device.
const SHARE: u64 = 32;
/// The most bytes given back while others are kept from making memory available.
const STEP: u64 = 64 * MIB;

/// What is known from earlier looks.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// When the next one is due.
    due: Option<Instant>,
    /// The least free granules of each place for a heap, before each of the last looks.
    heaps: Vec<[u32; ROW]>,
    turn: usize,
    /// What each thread holds back, by the address of its share.
    threads: HashMap<usize, Still>,
    depot: Still,
}

/// A figure that may stay the same for a while.
#[derive(Debug, Default, Clone, Copy)]
struct Still {
    figure: u64,
    looks: usize,
}

impl Still {
    /// Whether the figure was the same, and not 0, at the last few looks.
    fn is_still(&mut self, figure: u64) -> bool {
        self.looks = if self.figure == figure { self.looks + 1 } else { 1 };
        self.figure = figure;
        figure > 0 && self.looks >= STILL
    }
}

impl Shared {
    /// Looks at the pool if that is due, and gives back what has been idle for about as long as
    /// `idle`. Answers how long it is until the next look.
    pub(crate) fn look(&self, idle: Duration) -> Result<Duration, DeviceError> {
        let pause = idle / LOOKS;
        // Somebody may be at it.
        let Some(mut looks) = try_lock(&self.looks) else { return Ok(pause) };
        let now = Instant::now();
        if let Some(due) = looks.due.filter(|due| *due > now) {
            return Ok((due - now).min(pause));
        }
        looks.due = Some(now + pause);
        if self.poll_queues() {
            self.flush_own_cache();
        }
        self.give_up_still_caches(&mut looks);
        self.give_back_idle(&mut looks)?;
        Ok(pause)
    }

    /// Gives ranges back to their heaps that no thread has touched for some looks.
    fn give_up_still_caches(&self, looks: &mut Looks) {
        let mut known = std::mem::take(&mut looks.threads);
        for local in &*lock(&self.locals) {
            let address = Arc::as_ptr(local) as usize;
            let mut still = known.remove(&address).unwrap_or_default();
            if still.is_still(local.held.load(Relaxed)) {
                self.give_up(local);
            }
            looks.threads.insert(address, still);
        }
        if looks.depot.is_still(self.depot.held()) {
            self.heaps.release(self.depot.empty());
        }
    }

    fn give_back_idle(&self, looks: &mut Looks) -> Result<(), DeviceError> {
        let slots = self.heaps.slots();
        looks.heaps.resize(slots.len(), [0; ROW]);
        looks.turn = (looks.turn + 1) % ROW;
        let mut committed = 0;
        for (row, slot) in looks.heaps.iter_mut().zip(slots) {
            let free = |heap: &mut Heap| (heap.space.take_least_free(), heap.space.committed());
            let (free, held) = slot.with(|open| open.heap_mut().map_or((0, 0), free));
            row[looks.turn] = free;
            committed += u64::from(held);
        }
        let idle = |row: &[u32; ROW]| row.iter().copied().min().unwrap_or(0);
        let all: u64 = looks.heaps.iter().map(|row| u64::from(idle(row))).sum();
        if all == 0 || all < committed / SHARE {
            return Ok(());
        }
        for (index, row) in (0..).zip(&mut looks.heaps) {
            let given = self.give_back_from(index, idle(row))?;
            row.iter_mut().for_each(|free| *free = free.saturating_sub(given));
        }
        Ok(())
    }

    /// Gives back up to `idle` granules of a heap, or a heap as a whole. Answers how much that was.
    fn give_back_from(&self, index: u16, idle: u32) -> Result<u32, DeviceError> {
        let step = u32::try_from(STEP >> self.shift).unwrap_or(u32::MAX);
        let mut given = 0;
        while given < idle {
            let Some(_climbing) = self.growth.try_lock() else { break };
            let taken = if self.is_elastic() {
                self.headroom.reset();
                self.take_from_heap(index, (idle - given).min(step), self.page(), None)?
            } else {
                self.drop_idle_heap(index, idle)
            };
            if taken == 0 {
                break;
            }
            self.notes.add(Note::GaveBackIdle { bytes: self.bytes(taken.into()) });
            given += taken;
        }
        Ok(given)
    }

    /// Destroys a heap of `idle` granules, all of them idle, if it is not one of those promised.
    /// Answers what went.
    fn drop_idle_heap(&self, index: u16, idle: u32) -> u32 {
        let len = self.heaps.slot(index).levels().committed;
        if self.heap_count() <= self.promised() || len > idle || self.drop_heap(index) == 0 {
            return 0;
        }
        idle
    }
}

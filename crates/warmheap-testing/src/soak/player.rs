//! A player: plays a trace with random choices, and disturbs the pool in between.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;

use fastrand::Rng;
use warmheap::{AllocError, Pool};
use warmheap_trace::Program;

use super::chaos;
use super::figures::count;
use super::finding::Finding;
use super::parts::held::{Held, MovableHandle, PinnedView, Still, look_at};
use super::parts::oracle::{cleared, kept};
use super::parts::setting::METERED;
use super::requests::Asked;
use super::round::Round;

/// Buffers larger than the demand divided by this do not grow.
const GROWS: u64 = 64;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Player<'a> {
    round: &'a Round,
    /// The pool; `None` once it is to close.
    pool: Option<Pool>,
    program: &'a Program,
    rng: Rng,
    slots: Vec<Option<Held>>,
    position: usize,
}

impl<'a> Player<'a> {
    pub(super) fn new(round: &'a Round, program: &'a Program, rng: Rng) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(program.slots(), || None);
        Self { round, pool: round.pool(), program, rng, slots, position: 0 }
    }

    /// Plays the next `operations` operations. After the trace's end it begins again.
    pub(super) fn play(&mut self, operations: usize) -> Result<(), Finding> {
        for _ in 0..operations {
            self.let_go();
            let Some(op) = self.program.ops().get(self.position).copied() else {
                self.position = 0;
                self.clear()?;
                continue;
            };
            self.position += 1;
            match op.size() {
                Some(size) => self.slots[op.slot()] = self.allocate(self.program.sizes()[size])?,
                None => {
                    if let Some(held) = self.slots[op.slot()].take() {
                        self.release(held)?;
                    }
                }
            }
            count(&self.round.figures.operations);
            if self.rng.u8(..8) == 0 {
                self.touch()?;
            }
            if self.rng.u8(..16) == 0 {
                chaos::disturb(self.round, self.pool.as_ref(), &mut self.rng)?;
            }
        }
        Ok(())
    }

    /// Drops the handle to a pool that is to close. The last player to do so closes the pool, while the
    /// others play on with the buffers that they hold.
    pub(super) fn let_go(&mut self) {
        if self.pool.is_some() && self.round.closing.load(Relaxed) {
            let pool = self.pool.take();
            self.round.unless_panicked(|| drop(pool));
        }
    }

    /// Releases everything, in one way or another.
    fn clear(&mut self) -> Result<(), Finding> {
        for slot in 0..self.slots.len() {
            if let Some(held) = self.slots[slot].take() {
                self.release(held)?;
            }
        }
        Ok(())
    }

    /// Removes and returns some buffer that does not move.
    pub(super) fn give_one(&mut self) -> Option<Held> {
        let slot = self.rng.usize(..self.slots.len());
        self.slots[slot].take_if(|held| held.queue().is_none())
    }

    /// Returns the buffers that are still held.
    pub(super) fn end(self) -> Vec<Held> {
        self.slots.into_iter().flatten().collect()
    }

    /// Pins every buffer that may move.
    pub(super) fn look_around(&self) -> Result<Vec<PinnedView<'_>>, Finding> {
        look_at(self.slots.iter().flatten(), &self.round.oracle)
    }

    fn allocate(&mut self, size: u64) -> Result<Option<Held>, Finding> {
        let (round, rng) = (self.round, &mut self.rng);
        let Some(pool) = &self.pool else { return Ok(None) };
        let asked = Asked::about((size >> round.setting.shift).max(1), &round.tags, rng);
        let one_in = round.setting.one_movable_in;
        if one_in > 0 && rng.u32(..one_in) == 0 {
            return self.allocate_movable(pool, &asked);
        }
        let mut queue = None;
        let given = match rng.u8(..16) {
            0 => round.ask(&asked, |request| pool.allocate(request.no_fallback())),
            1..3 => {
                let slot = rng.usize(..round.queues.len());
                let work = round.queues[slot].work();
                queue = Some((slot, work.number));
                match work.queue() {
                    Some(way) => round.ask(&asked, |request| way.allocate(request)),
                    None => Ok(None),
                }
            }
            _ => round.ask(&asked, |request| pool.allocate(request)),
        };
        let receive = |buffer| round.receive(buffer, &asked, queue).map(Held::Still);
        given?.map(receive).transpose()
    }

    fn allocate_movable(&self, pool: &Pool, asked: &Asked) -> Result<Option<Held>, Finding> {
        let round = self.round;
        round.longest_movable.fetch_max(asked.size, Relaxed);
        let given = round.ask(asked, |request| pool.allocate_movable(request))?;
        let Some(buffer) = given else { return Ok(None) };
        count(&round.figures.movable);
        let pinned = buffer.pin();
        if buffer.moves() > 0 {
            count(&round.expected.unseen);
        } else {
            round.count_fallback(&pinned);
        }
        drop(pinned);
        let handle =
            MovableHandle::new(buffer, asked.align, &round.oracle, |buffer| round.check(buffer, asked, None));
        handle.map(Held::Movable).map(Some)
    }

    /// Uses some buffer.
    fn touch(&mut self) -> Result<(), Finding> {
        let slot = self.rng.usize(..self.slots.len());
        let Some(mut held) = self.slots[slot].take() else { return Ok(()) };
        match &mut held {
            Held::Movable(handle) => self.visit(handle)?,
            Held::Still(still) if self.rng.u8(..4) == 0 => self.grow(still)?,
            Held::Still(_) => {}
        }
        self.slots[slot] = Some(held);
        Ok(())
    }

    /// Uses a movable buffer, on a queue or here for a while.
    fn visit(&mut self, handle: &mut MovableHandle) -> Result<(), Finding> {
        let (round, rng) = (self.round, &mut self.rng);
        if rng.bool() {
            let _view = handle.look(&round.oracle)?;
            return chaos::disturb(round, self.pool.as_ref(), rng);
        }
        let slot = rng.usize(..round.queues.len());
        if handle.lend(slot, &round.queues[slot].work(), &round.oracle)? {
            count(&round.figures.lent);
        }
        Ok(())
    }

    /// Grows a buffer in place or, at times, by a move.
    fn grow(&mut self, held: &mut Still) -> Result<(), Finding> {
        let (round, buffer, number) = (self.round, &mut held.buffer, held.number);
        let old = buffer.size();
        if old > round.setting.demand / GROWS {
            return Ok(());
        }
        let size = old + self.rng.u64(1..=old / 4 + 1);
        // A quota's error does not tell whether growing in place failed or the request for a new place,
        // which counts as a request.
        let may_move = buffer.tag().name() != METERED && self.rng.bool();
        let troubles = round.faults.troubles();
        let grow = || if may_move { buffer.grow_or_move(size) } else { buffer.grow(size).map(|()| None) };
        let Some(grown) = round.unless_panicked(grow) else { return Ok(()) };
        match grown {
            Ok(None) => {
                if round.setting.scrubs() {
                    cleared(buffer, old)?;
                }
                round.oracle.grown(buffer, number, old)?;
                count(&round.figures.grown);
            }
            Ok(Some(left)) => {
                count(&round.expected.allocated);
                count(&round.expected.copies);
                round.expected.copied.fetch_add(old, Relaxed);
                count(&round.figures.moved);
                round.count_fallback(buffer);
                kept(buffer, number, old)?;
                held.number = round.oracle.allocated(buffer, None)?;
                let left = Still { buffer: left, number, queue: held.queue.take() };
                self.release(Held::Still(left))?;
            }
            Err(error) => match round.excuse(size, troubles, error)? {
                AllocError::Device(_) => {
                    count(&round.expected.allocated);
                    count(&round.expected.unseen);
                }
                AllocError::OutOfMemory(_) => count(&round.expected.refused),
                // Growing in place is no request.
                _ => {}
            },
        }
        Ok(())
    }

    fn release(&mut self, held: Held) -> Result<(), Finding> {
        // A buffer that a queue still uses, or reused early, is retired with a later ticket of the same
        // queue, if that queue is still there.
        if let Some((slot, number)) = held.queue() {
            let work = self.round.queues[slot].work();
            if work.number == number {
                return self.round.retire(held, &work);
            }
        }
        match self.rng.u8(..16) {
            0..5 => {
                let slot = self.rng.usize(..self.round.queues.len());
                self.round.retire(held, &self.round.queues[slot].work())
            }
            5..7 => {
                self.round.leave(held);
                Ok(())
            }
            _ => held.free(&self.round.oracle),
        }
    }
}

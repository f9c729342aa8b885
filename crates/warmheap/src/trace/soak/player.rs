//! One thread: a trace played with whims, and mischief in between.

use fastrand::Rng;

use super::figures::count;
use super::finding::Finding;
use super::oracle::{cleared, kept};
use super::round::{Held, Round};
use super::setting::METERED;
use crate::trace::Program;
use crate::{AllocError, Request, Tag};

/// Buffers of more than one part in this many of all that is asked for do not grow.
const GROWS: u64 = 64;

/// See the module's essay.
#[derive(Debug)]
pub(super) struct Player<'a> {
    round: &'a Round,
    program: &'a Program,
    rng: Rng,
    slots: Vec<Option<Held>>,
    position: usize,
}

impl<'a> Player<'a> {
    pub(super) fn new(round: &'a Round, program: &'a Program, rng: Rng) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(program.slots(), || None);
        Self { round, program, rng, slots, position: 0 }
    }

    /// Plays so many operations on, from the start again after the end.
    pub(super) fn play(&mut self, operations: usize) -> Result<(), Finding> {
        for _ in 0..operations {
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
            if self.rng.u8(..32) == 0 {
                self.grow()?;
            }
            if self.rng.u8(..16) == 0 {
                self.round.mischief(&mut self.rng)?;
            }
        }
        Ok(())
    }

    /// Frees everything, in one way or another.
    fn clear(&mut self) -> Result<(), Finding> {
        for slot in 0..self.slots.len() {
            if let Some(held) = self.slots[slot].take() {
                self.release(held)?;
            }
        }
        Ok(())
    }

    /// What is still held.
    pub(super) fn end(self) -> Vec<Held> {
        self.slots.into_iter().flatten().collect()
    }

    fn allocate(&mut self, size: u64) -> Result<Option<Held>, Finding> {
        let (round, rng) = (self.round, &mut self.rng);
        let size = (size >> round.setting.shift).max(1);
        let size = if rng.u8(..32) == 0 { rng.u64(1..=size * 2) } else { size };
        let align = if rng.u8(..16) == 0 { 1 << rng.u32(..17) } else { 1 };
        let zeroed = rng.u8(..64) == 0;
        let tag = rng.choice(round.tags).unwrap_or(Tag::NONE);
        let request = Request::new(size).align(align).tag(tag);
        let request = if zeroed { request.zeroed() } else { request };
        let request = if rng.u8(..32) == 0 { request.growable(size * rng.u64(1..8)) } else { request };
        let troubles = round.strain.troubles();
        let (answer, queue) = match rng.u8(..16) {
            0 => (round.pool.try_allocate(request), None),
            1..3 => {
                let lane = rng.usize(..round.lanes.len());
                let work = round.lanes[lane].work();
                (work.queue.allocate(request), Some((lane, work.number)))
            }
            _ => (round.pool.allocate(request), None),
        };
        match answer {
            Ok(buffer) => {
                count(&round.allocated);
                let (found, address) = (buffer.size(), buffer.address());
                if found != size || !address.is_multiple_of(align) || buffer.tag() != tag {
                    return Err(Finding::Misfit { size, align, found, address });
                }
                if buffer.is_fallback() {
                    count(&round.fallbacks);
                    count(&round.figures.fallbacks);
                }
                if zeroed || round.setting.scrubs() {
                    cleared(&buffer, 0)?;
                }
                let number = round.oracle.allocated(&buffer, queue.map(|(_, number)| number))?;
                Ok(Some(Held { buffer, number, queue }))
            }
            Err(error) => {
                if round.strain.troubles() == troubles && !round.setting.excuse(&error) {
                    return Err(Finding::Refused { size, error });
                }
                count(&round.refused);
                count(&round.figures.refused_requests);
                Ok(None)
            }
        }
    }

    /// Some buffer becomes longer, where it is or, at times, elsewhere.
    fn grow(&mut self) -> Result<(), Finding> {
        let (round, slot) = (self.round, self.rng.usize(..self.slots.len()));
        let Some(held) = &mut self.slots[slot] else { return Ok(()) };
        let (buffer, number) = (&mut held.buffer, held.number);
        let old = buffer.size();
        if old > round.setting.demand / GROWS {
            return Ok(());
        }
        let size = old + self.rng.u64(1..=old / 4 + 1);
        // The error of a quota does not say whether it came before the request for a new place, which
        // counts, or with it.
        let may_move = buffer.tag().name() != METERED && self.rng.bool();
        let troubles = round.strain.troubles();
        let answer = if may_move { buffer.grow_or_move(size) } else { buffer.grow(size).map(|()| None) };
        match answer {
            Ok(None) => {
                if round.setting.scrubs() {
                    cleared(buffer, old)?;
                }
                round.oracle.grown(buffer, number, old)?;
                count(&round.figures.grown);
            }
            Ok(Some(left)) => {
                count(&round.allocated);
                count(&round.figures.moved);
                if buffer.is_fallback() {
                    count(&round.fallbacks);
                    count(&round.figures.fallbacks);
                }
                kept(buffer, number, old)?;
                held.number = round.oracle.allocated(buffer, None)?;
                let left = Held { buffer: left, number, queue: held.queue.take() };
                self.release(left)?;
            }
            Err(error) => {
                if round.strain.troubles() == troubles && !round.setting.excuse(&error) {
                    return Err(Finding::Refused { size, error });
                }
                match error {
                    AllocError::Device(_) => {
                        count(&round.allocated);
                        count(&round.unseen);
                    }
                    AllocError::OutOfMemory(_) => count(&round.refused),
                    // Where it was to grow in place, nothing was asked for.
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn release(&mut self, held: Held) -> Result<(), Finding> {
        // What a queue was given early goes back under a later ticket of the same queue, if that
        // queue is still there.
        if let Some((lane, number)) = held.queue {
            let work = self.round.lanes[lane].work();
            if work.number == number {
                return self.round.retire(held, &work);
            }
        }
        match self.rng.u8(..16) {
            0..5 => {
                let lane = self.rng.usize(..self.round.lanes.len());
                self.round.retire(held, &self.round.lanes[lane].work())
            }
            5..7 => {
                self.round.leave(held);
                Ok(())
            }
            _ => self.round.free(held),
        }
    }
}

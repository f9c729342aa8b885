//! One thread: a trace played with whims, and mischief in between.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;

use fastrand::Rng;

use super::figures::count;
use super::finding::Finding;
use super::held::{Held, Rover, Sight, Still};
use super::oracle::{cleared, kept};
use super::round::Round;
use super::setting::METERED;
use warmheap::{AllocError, Buffer, Movable, Request, Tag};
use warmheap_trace::Program;

/// Buffers of more than one part in this many of all that is asked for do not grow.
const GROWS: u64 = 64;

/// What a request asks for.
struct Asked {
    size: u64,
    align: u64,
    zeroed: bool,
    tag: Tag,
}

/// What it is given, with the queue it came by: the lane and the queue there.
enum Given {
    Still(Buffer, Option<(usize, u64)>),
    Movable(Movable),
}

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
            if self.rng.u8(..8) == 0 {
                self.touch()?;
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

    /// Pins every buffer that may move.
    pub(super) fn look_around(&self) -> Result<Vec<Sight<'_>>, Finding> {
        self.slots.iter().flatten().filter_map(|held| held.look(&self.round.oracle)).collect()
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
        let asked = Asked { size, align, zeroed, tag };
        let one_in = round.setting.one_movable_in;
        let movable = one_in > 0 && rng.u32(..one_in) == 0;
        let troubles = round.strain.troubles();
        let answer = match rng.u8(..16) {
            _ if movable => {
                round.longest_movable.fetch_max(size, Relaxed);
                round.pool.allocate_movable(request).map(Given::Movable)
            }
            0 => round.pool.try_allocate(request).map(|buffer| Given::Still(buffer, None)),
            1..3 => {
                let lane = rng.usize(..round.lanes.len());
                let work = round.lanes[lane].work();
                let queue = Some((lane, work.number));
                work.queue.allocate(request).map(|buffer| Given::Still(buffer, queue))
            }
            _ => round.pool.allocate(request).map(|buffer| Given::Still(buffer, None)),
        };
        match answer {
            Ok(given) => self.receive(given, &asked).map(Some),
            Err(error) => {
                if round.strain.troubles() == troubles && !round.setting.excuse(&error) {
                    return Err(Finding::Refused { size, error });
                }
                count(&round.books.refused);
                count(&round.figures.refused_requests);
                Ok(None)
            }
        }
    }

    fn receive(&self, given: Given, asked: &Asked) -> Result<Held, Finding> {
        let (round, align) = (self.round, asked.align);
        count(&round.books.allocated);
        match given {
            Given::Still(buffer, queue) => {
                self.count_fallback(&buffer);
                let number = self.check(&buffer, asked, queue.map(|(_, number)| number))?;
                Ok(Held::Still(Still { buffer, number, queue }))
            }
            Given::Movable(buffer) => {
                count(&round.figures.movable);
                let pinned = buffer.pin();
                if buffer.moves() > 0 {
                    count(&round.books.unseen);
                } else {
                    self.count_fallback(&pinned);
                }
                drop(pinned);
                let check = |buffer: &Buffer| self.check(buffer, asked, None);
                Rover::new(buffer, align, &round.oracle, check).map(Held::Movable)
            }
        }
    }

    /// Looks at a new buffer, which came by the way of a queue or not. Answers its number.
    fn check(&self, buffer: &Buffer, asked: &Asked, queue: Option<u64>) -> Result<u64, Finding> {
        let Asked { size, align, zeroed, tag } = *asked;
        let (found, address) = (buffer.size(), buffer.address());
        if found != size || !address.is_multiple_of(align) || buffer.tag() != tag {
            return Err(Finding::Misfit { size, align, found, address });
        }
        if zeroed || self.round.setting.scrubs() {
            cleared(buffer, 0)?;
        }
        self.round.oracle.allocated(buffer, queue)
    }

    fn count_fallback(&self, buffer: &Buffer) {
        if buffer.is_fallback() {
            count(&self.round.books.fallbacks);
            count(&self.round.figures.fallbacks);
        }
    }

    /// Some buffer is used.
    fn touch(&mut self) -> Result<(), Finding> {
        let slot = self.rng.usize(..self.slots.len());
        let Some(mut held) = self.slots[slot].take() else { return Ok(()) };
        match &mut held {
            Held::Movable(rover) => self.visit(rover)?,
            Held::Still(still) if self.rng.u8(..4) == 0 => self.grow(still)?,
            Held::Still(_) => {}
        }
        self.slots[slot] = Some(held);
        Ok(())
    }

    /// A buffer that may move is used: by a queue, or here for a while.
    fn visit(&mut self, rover: &mut Rover) -> Result<(), Finding> {
        let (round, rng) = (self.round, &mut self.rng);
        if rng.bool() {
            let _sight = rover.look(&round.oracle)?;
            return round.mischief(rng);
        }
        let lane = rng.usize(..round.lanes.len());
        if rover.lend(lane, &round.lanes[lane].work(), &round.oracle)? {
            count(&round.figures.lent);
        }
        Ok(())
    }

    /// A buffer becomes longer, where it is or, at times, elsewhere.
    fn grow(&mut self, held: &mut Still) -> Result<(), Finding> {
        let (round, buffer, number) = (self.round, &mut held.buffer, held.number);
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
                count(&round.books.allocated);
                count(&round.books.copies);
                round.books.copied.fetch_add(old, Relaxed);
                count(&round.figures.moved);
                self.count_fallback(buffer);
                kept(buffer, number, old)?;
                held.number = round.oracle.allocated(buffer, None)?;
                let left = Still { buffer: left, number, queue: held.queue.take() };
                self.release(Held::Still(left))?;
            }
            Err(error) => {
                if round.strain.troubles() == troubles && !round.setting.excuse(&error) {
                    return Err(Finding::Refused { size, error });
                }
                match error {
                    AllocError::Device(_) => {
                        count(&round.books.allocated);
                        count(&round.books.unseen);
                    }
                    AllocError::OutOfMemory(_) => count(&round.books.refused),
                    // Where it was to grow in place, nothing was asked for.
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn release(&mut self, held: Held) -> Result<(), Finding> {
        // What a queue still uses, or was given early, goes back under a later ticket of the same queue, if that
        // queue is still there.
        if let Some((lane, number)) = held.queue() {
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
            _ => held.free(&self.round.oracle),
        }
    }
}

//! One round: every thread plays the program once against one pool.
//!
//! The inner loop is one function for all kinds of round; what is done around an allocation and a
//! free is a [`Meter`], inlined into it. Threads start together, and each notes its own start and
//! end, so that the time of a round is that of its work: not of creating threads, nor of the system finding
//! processors for them, nor of waking them.

use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::ReplayError;
use super::side_by_side::{BATCH, Gate, batches, channel, hand_over};
use crate::program::{Op, Program};
use crate::words_of;
use warmheap::{Buffer, Pool};

/// What is done with an allocation and a free besides doing it.
pub(super) trait Meter: Send {
    /// Allocates `size` bytes; `None` if nobody could give them.
    fn allocate(&mut self, pool: &Pool, size: u64) -> Option<Buffer>;

    /// Frees the buffer in `slot`, which is empty where the allocation failed. The slot is passed,
    /// not the buffer, to spare moving it.
    fn release(&mut self, slot: &mut Option<Buffer>);
}

/// What is played, on what, how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round<'a> {
    pub(super) program: &'a Program,
    pub(super) pool: &'a Pool,
    pub(super) threads: usize,
    /// One more thread does all the freeing.
    pub(super) remote_free: bool,
}

/// What a round leaves.
#[derive(Debug)]
pub(super) struct Played<M> {
    /// From the first thread's start to the last one's end.
    pub(super) wall: Duration,
    /// One for each thread, the completion thread included.
    pub(super) meters: Vec<M>,
    /// The buffers alive at the end.
    pub(super) alive: Vec<Slots>,
}

/// One thread's buffers.
pub(super) type Slots = Vec<Option<Buffer>>;

struct Thread<M> {
    span: (Instant, Instant),
    meter: M,
    slots: Slots,
}

impl Round<'_> {
    /// Plays the program. `at_half` runs once, while all threads rest at the program's middle.
    ///
    /// # Errors
    /// [`ReplayError::Panicked`], once every thread has ended.
    pub(super) fn play<M: Meter>(
        &self,
        meter: impl Fn() -> M + Sync,
        at_half: Option<&(dyn Fn() + Sync)>,
    ) -> Result<Played<M>, ReplayError> {
        let gate = Gate::new(self.threads, self.threads > 1 || self.remote_free);
        let (sender, receiver) = channel();
        let threads: Vec<thread::Result<Option<Thread<M>>>> = thread::scope(|scope| {
            let completion = self.remote_free.then(|| scope.spawn(|| Some(complete(receiver, meter()))));
            let workers: Vec<_> = (0..self.threads)
                .map(|_| {
                    let sender = sender.clone();
                    let (gate, meter) = (&gate, &meter);
                    scope.spawn(move || {
                        if self.remote_free {
                            let remote = Remote::new(meter(), sender);
                            let thread = self.work(remote, gate, at_half)?;
                            Some(thread.map(Remote::finish))
                        } else {
                            self.work(meter(), gate, at_half)
                        }
                    })
                })
                .collect();
            drop(sender);
            workers.into_iter().chain(completion).map(|thread| thread.join()).collect()
        });
        let mut played = Vec::with_capacity(threads.len());
        for (number, thread) in (1..).zip(threads) {
            let panicked = |panic| ReplayError::Panicked { thread: number, words: words_of(panic) };
            // Threads that have left because another panicked are not the ones to tell of.
            played.extend(thread.map_err(panicked)?);
        }
        Ok(Played::from_threads(played))
    }

    /// One thread's play; `None` if another has panicked and it was not played to its end.
    fn work<M: Meter>(
        &self,
        mut meter: M,
        gate: &Gate,
        at_half: Option<&(dyn Fn() + Sync)>,
    ) -> Option<Thread<M>> {
        let member = gate.join();
        let mut slots = Slots::new();
        slots.resize_with(self.program.slots(), || None);
        let (ops, sizes) = (self.program.ops(), self.program.sizes());
        let (first, second) = ops.split_at(ops.len() / 2);
        member.pass()?;
        let start = Instant::now();
        drive(first, sizes, &mut slots, self.pool, &mut meter);
        if let Some(at_half) = at_half {
            member.rest(at_half)?;
        }
        drive(second, sizes, &mut slots, self.pool, &mut meter);
        let span = (start, Instant::now());
        Some(Thread { span, meter, slots })
    }
}

/// The inner loop. Operations and sizes stream past; a slot is in the first cache most of the time.
#[inline(never)]
pub(super) fn drive<M: Meter>(
    ops: &[Op],
    sizes: &[u64],
    slots: &mut [Option<Buffer>],
    pool: &Pool,
    meter: &mut M,
) {
    for op in ops {
        let slot = &mut slots[op.slot()];
        match op.size() {
            Some(size) => {
                let empty = std::mem::replace(slot, meter.allocate(pool, sizes[size]));
                // A program allocates into empty slots only, so there is nothing to drop; saying so
                // keeps the code of a drop out of the loop, and the one of a free in it.
                std::mem::forget(empty);
            }
            None => meter.release(slot),
        }
    }
}

/// Hands buffers to the completion thread in batches instead of freeing them. Slots are handed over, not
/// buffers: taking a buffer out of one costs more than passing it on.
struct Remote<M> {
    meter: M,
    batch: Slots,
    completion: SyncSender<Slots>,
}

impl<M> Remote<M> {
    fn new(meter: M, completion: SyncSender<Slots>) -> Self {
        Self { meter, batch: Vec::with_capacity(BATCH), completion }
    }

    fn send(&mut self) {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        // If the completion thread has died, the batch comes back in the error and is freed here.
        let _ = hand_over(&self.completion, batch);
    }

    fn finish(mut self) -> M {
        self.send();
        self.meter
    }
}

impl<M: Meter> Meter for Remote<M> {
    #[inline(always)]
    fn allocate(&mut self, pool: &Pool, size: u64) -> Option<Buffer> {
        self.meter.allocate(pool, size)
    }

    #[inline(always)]
    fn release(&mut self, slot: &mut Option<Buffer>) {
        self.batch.push(slot.take());
        if self.batch.len() == BATCH {
            self.send();
        }
    }
}

/// The completion thread: frees what arrives until every worker has finished.
fn complete<M: Meter>(workers: Receiver<Slots>, mut meter: M) -> Thread<M> {
    let mut start = None;
    for mut batch in batches(workers) {
        start.get_or_insert_with(Instant::now);
        batch.iter_mut().for_each(|slot| meter.release(slot));
    }
    let end = Instant::now();
    Thread { span: (start.unwrap_or(end), end), meter, slots: Slots::new() }
}

impl<M> Thread<M> {
    fn map<N>(self, change: impl FnOnce(M) -> N) -> Thread<N> {
        Thread { span: self.span, meter: change(self.meter), slots: self.slots }
    }
}

impl<M> Played<M> {
    fn from_threads(threads: Vec<Thread<M>>) -> Self {
        let start = threads.iter().map(|t| t.span.0).min();
        let end = threads.iter().map(|t| t.span.1).max();
        let wall = end.zip(start).map_or(Duration::ZERO, |(end, start)| end - start);
        let (meters, alive) = threads.into_iter().map(|t| (t.meter, t.slots)).unzip();
        Self { wall, meters, alive }
    }
}

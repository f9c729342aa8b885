//! One round: every thread plays the program once on one pool.
//!
//! The inner loop is one function for all kinds of round. A [`Meter`] is inlined into it and does the work
//! around each allocation and free. The threads start together, and each records its own start and end. The
//! time of a round is therefore that of its work, without the time to create threads, to wake them, or to
//! find processors for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::ReplayError;
use super::side_by_side::{BATCH, Gate, Member, batches, channel, hand_over};
use crate::program::{Op, Program};
use crate::words_of;
use warmheap::{AllocError, Buffer, Pool};

/// The work around each allocation and free.
pub(super) trait Meter: Send {
    /// Allocates `size` bytes.
    fn allocate(&mut self, pool: &Pool, size: u64) -> Result<Buffer, AllocError>;

    /// Notes that the pool could not serve the operation `op` of the program.
    fn failed(&mut self, op: usize, size: u64, error: &AllocError);

    /// Frees the buffer in `slot`, which is empty if the allocation failed. The caller passes the slot
    /// instead of the buffer, because moving the buffer costs more.
    fn release(&mut self, slot: &mut Option<Buffer>);
}

/// The program, the pool and the threads of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round<'a> {
    pub(super) program: &'a Program,
    pub(super) pool: &'a Pool,
    pub(super) threads: usize,
    /// Whether one more thread frees all buffers.
    pub(super) remote_free: bool,
    /// Whether to end the round early.
    pub(super) stopped: &'a AtomicBool,
}

/// The operations between two looks at [`Round::stopped`]: few enough to stop at once, and enough for the
/// looks to cost nothing.
const STRETCH: usize = 1024;

/// The results of a round.
#[derive(Debug)]
pub(super) struct Played<M> {
    /// The time from the first thread's start to the last thread's end.
    pub(super) wall: Duration,
    /// One meter for each thread, the completion thread included.
    pub(super) meters: Vec<M>,
    /// The buffers alive at the end.
    pub(super) alive: Vec<Slots>,
}

/// The buffers of one thread.
pub(super) type Slots = Vec<Option<Buffer>>;

struct Thread<M> {
    span: (Instant, Instant),
    meter: M,
    slots: Slots,
}

impl Round<'_> {
    /// Plays the program. `at_half` runs once, while all threads wait at the middle of the program.
    ///
    /// # Errors
    /// Returns [`ReplayError::Panicked`] if a thread panicked, and [`ReplayError::Stopped`] if the round was
    /// stopped, once every thread has ended.
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
            // A thread that left because another panicked is not the one to report.
            played.extend(thread.map_err(panicked)?);
        }
        if self.stopped.load(Ordering::Relaxed) {
            return Err(ReplayError::Stopped);
        }
        Ok(Played::from_threads(played))
    }

    /// Plays the program on one thread. Returns `None` if another thread has panicked, or the round was
    /// stopped, and this one ended early.
    fn work<M: Meter>(
        &self,
        mut meter: M,
        gate: &Gate,
        at_half: Option<&(dyn Fn() + Sync)>,
    ) -> Option<Thread<M>> {
        let member = gate.join();
        let mut slots = Slots::new();
        slots.resize_with(self.program.slots(), || None);
        let ops = self.program.ops();
        let (first, second) = ops.split_at(ops.len() / 2);
        member.pass()?;
        let start = Instant::now();
        self.play_part(first, 0, &mut slots, &mut meter, &member)?;
        if let Some(at_half) = at_half {
            member.rest(at_half)?;
        }
        self.play_part(second, first.len(), &mut slots, &mut meter, &member)?;
        let span = (start, Instant::now());
        Some(Thread { span, meter, slots })
    }

    fn play_part<M: Meter>(
        &self,
        ops: &[Op],
        from: usize,
        slots: &mut [Option<Buffer>],
        meter: &mut M,
        member: &Member<'_>,
    ) -> Option<()> {
        for (number, stretch) in ops.chunks(STRETCH).enumerate() {
            if self.stopped.load(Ordering::Relaxed) {
                member.leave();
                return None;
            }
            let first = from + number * STRETCH;
            drive(stretch, first, self.program.sizes(), slots, self.pool, meter);
        }
        Some(())
    }
}

/// Plays operations, the first of which is the program's operation `from`. Operations and sizes stream past,
/// and a slot is in the first cache most of the time.
#[inline(never)]
pub(super) fn drive<M: Meter>(
    ops: &[Op],
    from: usize,
    sizes: &[u64],
    slots: &mut [Option<Buffer>],
    pool: &Pool,
    meter: &mut M,
) {
    let mut rest = ops.iter();
    while let Some(op) = rest.next() {
        let slot = &mut slots[op.slot()];
        match op.size() {
            Some(size) => {
                let size = sizes[size];
                let buffer = meter.allocate(pool, size);
                if let Err(error) = &buffer {
                    meter.failed(from + ops.len() - rest.as_slice().len() - 1, size, error);
                }
                let empty = std::mem::replace(slot, buffer.ok());
                // A program allocates only into empty slots, so there is nothing to drop. `forget` keeps the
                // code of a drop out of the loop and the code of a free in it.
                std::mem::forget(empty);
            }
            None => meter.release(slot),
        }
    }
}

/// Hands buffers to the completion thread in batches, instead of freeing them. It hands over slots, because
/// taking a buffer out of a slot costs more than passing the slot on.
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
    fn allocate(&mut self, pool: &Pool, size: u64) -> Result<Buffer, AllocError> {
        self.meter.allocate(pool, size)
    }

    fn failed(&mut self, op: usize, size: u64, error: &AllocError) {
        self.meter.failed(op, size, error);
    }

    #[inline(always)]
    fn release(&mut self, slot: &mut Option<Buffer>) {
        self.batch.push(slot.take());
        if self.batch.len() == BATCH {
            self.send();
        }
    }
}

/// Runs the completion thread, which frees what arrives until every worker has finished.
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

//! The rounds of a comparison: the contestants play the same program with the same loop, in turns. A
//! contestant is an allocator.
//!
//! The loop is compiled for each contestant, so there is no dynamic call between the loop and the allocator.
//! Rounds of different contestants are interleaved, so that a noisy moment affects all of them. The result
//! is the median of a contestant's rounds. A contestant lives through all rounds of a race. Only in the
//! first round, which is not timed, is it cold.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use crate::contestants::Contestant;
use crate::program::{Op, Program};
use crate::side_by_side::{BATCH, Gate, batches, channel, hand_over};

/// The threads that play the program and free its allocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct How {
    /// The number of threads. Each plays the whole program, all on the same allocator.
    pub(crate) threads: usize,
    /// The number of further threads that free everything. If there are none, each thread frees its own.
    pub(crate) freeing: usize,
}

impl How {
    /// Threads that free what they have allocated.
    pub(crate) const fn local(threads: usize) -> Self {
        Self { threads, freeing: 0 }
    }
}

pub(crate) const ONE_THREAD: How = How::local(1);
pub(crate) const TWO_THREADS: How = How::local(2);

/// A contestant behind a dynamic type, for use between rounds.
pub(crate) trait Entrant {
    /// Plays the program. Returns the time from the first thread's start to the last thread's end.
    fn play(&self, program: &Program, how: How) -> Duration;

    /// Plays the program on one thread. Returns the allocations that failed, and the most memory held so
    /// far.
    fn tally(&self, program: &Program) -> Tally;
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) failed: u64,
    /// The most bytes held, or `None` for an allocator that hands out address space instead of device
    /// memory.
    pub(crate) peak_reserved: Option<u64>,
}

impl<C: Contestant> Entrant for C {
    fn play(&self, program: &Program, how: How) -> Duration {
        let start = Gate::new(how.threads, how.threads + how.freeing > 1);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..how.freeing).map(|_| channel()).unzip();
        let played: Vec<Played<C>> = thread::scope(|scope| {
            let complete = |receiver| scope.spawn(|| complete(self, receiver));
            let completions: Vec<_> = receivers.into_iter().map(complete).collect();
            let workers: Vec<_> = (0..how.threads)
                .map(|_| {
                    let (senders, start) = (senders.clone(), &start);
                    scope.spawn(move || work(self, program, start, &senders))
                })
                .collect();
            drop(senders);
            let threads = workers.into_iter().chain(completions);
            threads.map(|thread| thread.join().expect("a contestant panicked")).collect()
        });
        let start = played.iter().map(|played| played.start).min().expect("there is a thread");
        let end = played.iter().map(|played| played.end).max().expect("there is a thread");
        for mut slot in played.into_iter().flat_map(|played| played.slots) {
            self.free(&mut slot);
        }
        end - start
    }

    fn tally(&self, program: &Program) -> Tally {
        let mut slots = empty_slots::<C>(program);
        let mut tally = Tally { failed: 0, peak_reserved: None };
        for op in program.setup.iter().chain(&program.ops) {
            let slot = &mut slots[op.slot()];
            match op.size() {
                0 => self.free(slot),
                size => {
                    *slot = self.allocate(size);
                    tally.failed += u64::from(slot.is_none());
                    tally.peak_reserved = tally.peak_reserved.max(self.reserved());
                }
            }
        }
        slots.iter_mut().for_each(|slot| self.free(slot));
        tally
    }
}

struct Played<C: Contestant> {
    start: Instant,
    end: Instant,
    slots: Slots<C>,
}

type Slots<C> = Vec<Option<<C as Contestant>::Held>>;

fn empty_slots<C: Contestant>(program: &Program) -> Slots<C> {
    let mut slots = Vec::new();
    slots.resize_with(program.slots, || None);
    slots
}

fn work<C: Contestant>(
    contestant: &C,
    program: &Program,
    gate: &Gate,
    completions: &[SyncSender<Slots<C>>],
) -> Played<C> {
    let member = gate.join();
    let mut slots = empty_slots::<C>(program);
    let local = |slot: &mut Option<C::Held>| contestant.free(slot);
    drive(contestant, &program.setup, &mut slots, local);
    member.pass().expect("no other thread has panicked");
    let start = Instant::now();
    // Completion threads take turns.
    let mut turns = completions.iter().cycle();
    match turns.next() {
        None => drive(contestant, &program.ops, &mut slots, local),
        Some(mut completion) => {
            let mut batch = Vec::with_capacity(BATCH);
            drive(contestant, &program.ops, &mut slots, |slot| {
                batch.push(slot.take());
                if batch.len() == BATCH {
                    send(completion, std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
                    completion = turns.next().unwrap_or(completion);
                }
            });
            send(completion, batch);
        }
    }
    Played { start, end: Instant::now(), slots }
}

/// The timed loop, which is the same for all contestants.
#[inline(never)]
fn drive<C: Contestant>(
    contestant: &C,
    ops: &[Op],
    slots: &mut [Option<C::Held>],
    mut free: impl FnMut(&mut Option<C::Held>),
) {
    for op in ops {
        let slot = &mut slots[op.slot()];
        match op.size() {
            0 => free(slot),
            size => {
                let empty = std::mem::replace(slot, contestant.allocate(size));
                // Programs allocate into empty slots only. Without this line, the compiler would add a drop.
                std::mem::forget(empty);
            }
        }
    }
}

fn send<H>(completion: &SyncSender<Vec<H>>, batch: Vec<H>) {
    hand_over(completion, batch).unwrap_or_else(|_| panic!("a completion thread died"));
}

/// Runs a completion thread: it frees what arrives until the workers have finished.
fn complete<C: Contestant>(contestant: &C, workers: Receiver<Slots<C>>) -> Played<C> {
    let mut start = None;
    for mut batch in batches(workers) {
        start.get_or_insert_with(Instant::now);
        batch.iter_mut().for_each(|slot| contestant.free(slot));
    }
    let end = Instant::now();
    Played { start: start.unwrap_or(end), end, slots: Vec::new() }
}

/// One contestant of a race.
pub(crate) struct Runner {
    pub(crate) name: &'static str,
    pub(crate) entrant: Box<dyn Entrant>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The seconds after which a contestant plays no more rounds. The figure of a contestant that is a thousand
/// times slower than the others need not be more precise.
const PATIENCE: f64 = 2.0;

/// Returns the nanoseconds per operation for each runner and each way of playing. A figure is the wall time
/// divided by the operations of all threads, as the median of `rounds`.
pub(crate) fn race(runners: &[Runner], program: &Program, ways: &[How], rounds: usize) -> Vec<Vec<f64>> {
    let mut times = vec![vec![Vec::with_capacity(rounds); ways.len()]; runners.len()];
    for _ in 0..rounds {
        for (runner, times) in runners.iter().zip(&mut times) {
            for (how, times) in ways.iter().zip(times) {
                let ops = (program.ops.len() * how.threads) as f64;
                if times.iter().sum::<f64>() * ops < PATIENCE * 1e9 {
                    times.push(runner.entrant.play(program, *how).as_secs_f64() * 1e9 / ops);
                }
            }
        }
    }
    times.into_iter().map(|ways| ways.into_iter().map(median).collect()).collect()
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

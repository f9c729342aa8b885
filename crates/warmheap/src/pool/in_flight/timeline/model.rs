//! A loom model of the timeline, under the interleavings that loom produces.
//!
//! A token stands for a span, and knows how much work is due on it. The device does that work before it
//! advances its counter. The thread that gets the span checks whether it sees the work done. The reads are
//! not ordered by themselves, so only the list and its reading of the counter can order them. Run the model
//! with
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p warmheap --lib --release model
//! ```

use std::time::Duration;

use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use loom::sync::{Arc, mpsc};
use loom::thread;

use super::{DeviceError, Instant, Queue, Timeline, Waiting};
use crate::sync::model::model;

/// The counter of a device that works in another thread.
#[derive(Debug)]
struct Counter {
    value: AtomicU64,
    lost: AtomicBool,
    /// How far the counter runs ahead of the truth: the planted bug.
    lie: u64,
}

impl Counter {
    fn new(lie: u64) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self { value: AtomicU64::new(0), lost: AtomicBool::new(false), lie })
    }
}

impl Queue for Counter {
    fn completed(&self) -> Result<u64, DeviceError> {
        if self.lost.load(Ordering::Acquire) {
            return Err(DeviceError::Lost { reason: "modelled".into() });
        }
        Ok(self.value.load(Ordering::Acquire) + self.lie)
    }

    fn wait(&self, value: u64, _: Duration) -> Result<bool, DeviceError> {
        while self.completed()? < value {
            thread::yield_now();
        }
        Ok(true)
    }
}

/// A span: the work done on it, and how often it was freed.
#[derive(Debug)]
struct Memory {
    work: AtomicUsize,
    freed: AtomicUsize,
    /// How often the end of a queue left the span in use.
    left: AtomicUsize,
    freed_early: AtomicBool,
}

impl Memory {
    fn new() -> Arc<Self> {
        let (work, freed, left) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { work, freed, left, freed_early: AtomicBool::new(false) })
    }

    fn be_worked_on(&self) {
        self.work.fetch_add(1, Ordering::Relaxed);
    }

    fn freed(&self) -> usize {
        self.freed.load(Ordering::Relaxed)
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    fn freed_early(&self) -> bool {
        self.freed_early.load(Ordering::Relaxed)
    }
}

/// The right to a span on which `due` pieces of work have been submitted.
#[derive(Debug)]
struct Token {
    memory: Arc<Memory>,
    due: usize,
    /// The token was handed on and must not count as freed.
    left: bool,
}

impl Token {
    fn new(memory: &Arc<Memory>) -> Self {
        Self { memory: Arc::clone(memory), due: 1, left: false }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        if self.memory.work.load(Ordering::Relaxed) != self.due {
            self.memory.freed_early.store(true, Ordering::Relaxed);
        }
        self.memory.freed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Waiting for Token {
    fn outlive(mut self, _: &std::sync::Arc<dyn Queue>, _: u64) {
        self.memory.left.fetch_add(1, Ordering::Relaxed);
        self.left = true;
    }
}

/// Starts a device thread that does one piece of work on each span, in order.
fn device(counter: &std::sync::Arc<Counter>, work: Vec<Arc<Memory>>) -> thread::JoinHandle<()> {
    let counter = std::sync::Arc::clone(counter);
    thread::spawn(move || {
        for (memory, value) in work.iter().zip(1..) {
            memory.be_worked_on();
            counter.value.store(value, Ordering::Release);
        }
    })
}

/// Retires from one thread what another polls while the device works. Returns whether all was in order.
fn retired_and_polled(lie: u64) -> bool {
    let counter = Counter::new(lie);
    let timeline = Arc::new(Timeline::new(counter.clone()));
    let (first, second) = (Memory::new(), Memory::new());
    let device = device(&counter, vec![first.clone(), second.clone()]);
    timeline.retire(1, 10, Token::new(&first));
    let poller = {
        let timeline = Arc::clone(&timeline);
        thread::spawn(move || timeline.poll(1).unwrap())
    };
    timeline.retire(2, 20, Token::new(&second));
    let freed = timeline.poll(usize::MAX).unwrap() + poller.join().unwrap();
    device.join().unwrap();
    let rest = timeline.poll(usize::MAX).unwrap();
    assert_eq!((freed + rest, first.freed(), second.freed()), (2, 1, 1));
    assert_eq!(timeline.bytes(), 0);
    !first.freed_early() && !second.freed_early()
}

#[test]
fn a_range_comes_out_once_and_only_after_its_work() {
    model(|| assert!(retired_and_polled(0)));
}

#[test]
fn a_counter_that_runs_ahead_is_found_out() {
    let found = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&found);
    model(move || {
        if !retired_and_polled(1) {
            seen.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert!(found.load(std::sync::atomic::Ordering::Relaxed));
}

/// The same queue takes a span back and submits more work to it, while another thread frees.
#[test]
fn a_range_is_taken_back_or_freed_never_both() {
    model(|| {
        let counter = Counter::new(0);
        let timeline = Arc::new(Timeline::new(counter.clone()));
        let memory = Memory::new();
        let (submit, submitted) = mpsc::channel();
        timeline.retire(1, 10, Token::new(&memory));
        let device = {
            let (counter, memory) = (counter.clone(), memory.clone());
            thread::spawn(move || {
                memory.be_worked_on();
                counter.value.store(1, Ordering::Release);
                if submitted.recv().unwrap() {
                    memory.be_worked_on();
                    counter.value.store(2, Ordering::Release);
                }
            })
        };
        let poller = {
            let timeline = Arc::clone(&timeline);
            thread::spawn(move || timeline.poll(usize::MAX).unwrap())
        };
        match timeline.take_back(|_| true) {
            Some((mut token, 1)) => {
                assert_eq!((memory.freed(), timeline.bytes()), (0, 0));
                token.due = 2;
                submit.send(true).unwrap();
                timeline.retire(2, 10, token);
            }
            _ => submit.send(false).unwrap(),
        }
        poller.join().unwrap();
        device.join().unwrap();
        drop(timeline);
        assert!(memory.freed() == 1 && !memory.freed_early());
    });
}

#[test]
fn whoever_waits_sees_the_work_done() {
    model(|| {
        let counter = Counter::new(0);
        let timeline = Arc::new(Timeline::new(counter.clone()));
        let memory = Memory::new();
        timeline.retire(1, 10, Token::new(&memory));
        let device = device(&counter, vec![memory.clone()]);
        let poller = {
            let timeline = Arc::clone(&timeline);
            thread::spawn(move || timeline.poll(usize::MAX).unwrap())
        };
        // The result is `false` if the other thread has already emptied the list. That thread may then be
        // about to free.
        let waited = timeline.wait(Instant::now()).unwrap();
        assert!(!waited || counter.completed() == Ok(1));
        poller.join().unwrap();
        assert!(memory.freed() == 1 && !memory.freed_early());
        device.join().unwrap();
    });
}

/// The last handle goes while the device works, or as the queue is lost.
#[test]
fn the_end_of_a_queue_frees_what_is_done_or_lost_and_hands_on_the_rest() {
    for lost in [false, true] {
        model(move || {
            let counter = Counter::new(0);
            let timeline = Timeline::new(counter.clone());
            let memory = Memory::new();
            timeline.retire(1, 10, Token::new(&memory));
            let device = {
                let (counter, memory) = (counter.clone(), memory.clone());
                thread::spawn(move || {
                    memory.be_worked_on();
                    if lost {
                        counter.lost.store(true, Ordering::Release);
                    } else {
                        counter.value.store(1, Ordering::Release);
                    }
                })
            };
            drop(timeline);
            assert!(memory.freed() + memory.left() == 1 && !memory.freed_early());
            device.join().unwrap();
        });
    }
}

//! Soaks pools: tries them in many kinds of trouble at once, for any length of time, and checks every figure.
//!
//! A soak is a sequence of rounds (`course`). Each round has a pool of its own, with random settings
//! (`setting`). The pool's device fails calls and changes its budget (`faulty_device`). Several threads play
//! traces on the pool (`workers`, `player`); some threads end and are replaced. Queues are slow, stop and get
//! lost (`queues`). Callbacks own buffers, allocate and panic (`callbacks`). Some buffers may move (`held`).
//! The pool is trimmed, compacted and made purgeable (`chaos`). It is closed with buffers alive, in half of
//! the rounds in the middle of play. The parts of a round stand in `parts`.
//!
//! All the time an `oracle` knows which buffer and which work uses which addresses. Whenever the threads wait
//! for each other, the pool's figures must equal the counts (`compare`). After a round everything must be
//! back at the device.
//!
//! Nothing here repairs, retries or excuses what a pool does. The first broken promise ends the
//! soak, as a [`Finding`] with the seed that leads there.

mod callbacks;
mod chaos;
mod compare;
mod course;
mod figures;
mod finding;
mod parts;
mod player;
mod requests;
mod round;
mod workers;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

pub use figures::Survived;
pub use finding::{Broken, Finding};

use self::figures::{Figures, count};
use warmheap::config::HeapSizing;
use warmheap::device::Device;
use warmheap_trace::Program;

/// The options of a soak.
#[derive(Debug, Clone)]
pub struct Soak {
    /// The time to soak. A round that has begun is cut short once all threads wait for each other.
    pub time: Duration,
    /// Threads that play at once; 0 counts as 1.
    pub threads: usize,
    /// Queues that buffers are retired to; 0 counts as 1.
    pub queues: usize,
    /// The sizing of the pools' heaps; `None` leaves it to each round's settings.
    pub heaps: Option<HeapSizing>,
    /// The first round's seed; each round has the next. A seed decides the settings and every thread's
    /// choices, but not how the threads interleave.
    pub seed: u64,
}

impl Default for Soak {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), threads: 3, queues: 3, heaps: None, seed: 1 }
    }
}

impl Soak {
    /// Plays `programs` on pools of the `devices`, in turns. Any thread calls `progress` with the figures so
    /// far, often. The soak ends early, as soon as all threads wait for each other, if that returns
    /// [`ControlFlow::Break`].
    ///
    /// Returns the figures, and what broke if something did.
    ///
    /// # Errors
    /// Returns [`Broken`], with the figures up to there.
    pub fn run(
        &self,
        programs: &[Program],
        devices: &[Arc<dyn Device>],
        progress: &(dyn Fn(&Survived) -> ControlFlow<()> + Sync),
    ) -> (Survived, Result<(), Broken>) {
        let end = Instant::now() + self.time;
        let figures = Arc::new(Figures::default());
        let alive = || progress(&figures.so_far()).is_continue() && Instant::now() < end;
        let nothing = programs.is_empty() || devices.is_empty();
        for (seed, round) in (self.seed..).zip(1..) {
            if nothing || !alive() {
                break;
            }
            // The seed chooses the device, so that a round that is repeated alone has the same one.
            let device = &devices[(seed % devices.len() as u64) as usize];
            let mut rng = Rng::with_seed(seed);
            let started = course::start(self, programs, device, &figures, &mut rng);
            let played = started.and_then(|round| match round {
                Some(round) => course::play(round, programs, &mut rng, &alive),
                None => Ok(()),
            });
            if let Err(finding) = played {
                return (figures.so_far(), Err(Broken { seed, round, finding }));
            }
            count(&figures.rounds);
        }
        (figures.so_far(), Ok(()))
    }
}

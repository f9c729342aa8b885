//! Pools under every hardship at once, for as long as one likes, with books kept of all of it.
//!
//! A soak is a sequence of rounds (`round`). Each has a pool of its own with settings made up for
//! it, on a device whose calls fail and whose budget moves (`strain`), played on by several
//! threads (`player`) and several queues that are slow, stand still and get lost (`lanes`). Some
//! buffers may move (`held`). The pool is trimmed, compacted, put to rest (`mischief`), closed with
//! buffers alive. All the way an `oracle` knows who holds which addresses; whenever the threads stand
//! still the pool's figures must be those that were counted (`books`), and at the end of a round
//! everything must be back at the device.
//!
//! Nothing here repairs, retries or excuses what a pool does: the first broken promise ends the
//! soak, as a [`Finding`] with the seed that leads there.

mod asked;
mod books;
mod figures;
mod finding;
mod held;
mod lanes;
mod mischief;
mod oracle;
mod player;
mod pressure;
mod round;
mod seats;
mod setting;
mod strain;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;

pub use figures::Survived;
pub use finding::{Broken, Finding};

use self::figures::{Figures, count};
use self::round::Round;
use warmheap::config::HeapSizing;
use warmheap::device::Device;
use warmheap_trace::Program;

/// How pools are tried.
#[derive(Debug, Clone)]
pub struct Soak {
    /// How long; a round that has begun is cut short, but not before all threads stand still.
    pub time: Duration,
    /// Threads that play at once; 0 counts as 1.
    pub threads: usize,
    /// Queues that buffers are retired to; 0 counts as 1.
    pub queues: usize,
    /// How the pools' heaps are sized; without, as each round's settings have it.
    pub heaps: Option<HeapSizing>,
    /// Where the choices start; the rounds count on from here. It decides every round's settings
    /// and every thread's choices, not how the threads interleave.
    pub seed: u64,
}

impl Default for Soak {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), threads: 3, queues: 3, heaps: None, seed: 1 }
    }
}

impl Soak {
    /// Plays `programs` on pools of the `devices`, in turns. `progress` hears how far it is, a few
    /// times a second, from any thread.
    ///
    /// Says what was survived, and what broke if something did.
    ///
    /// # Errors
    /// [`Broken`], with the figures up to there.
    pub fn run(
        &self,
        programs: &[Program],
        devices: &[Arc<dyn Device>],
        progress: &(dyn Fn(&Survived) + Sync),
    ) -> (Survived, Result<(), Broken>) {
        let end = Instant::now() + self.time;
        let figures = Arc::new(Figures::default());
        let alive = || {
            progress(&figures.so_far());
            Instant::now() < end
        };
        let nothing = programs.is_empty() || devices.is_empty();
        for (seed, round) in (self.seed..).zip(1..) {
            if nothing || !alive() {
                break;
            }
            // By the seed, so that a round that is repeated alone is on the same device.
            let device = &devices[(seed % devices.len() as u64) as usize];
            let mut rng = Rng::with_seed(seed);
            let started = Round::start(self, programs, device, &figures, &mut rng);
            let played = started.and_then(|round| match round {
                Some(round) => round.play(programs, &mut rng, &alive),
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

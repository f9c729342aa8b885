//! The load of a server. A model stays for the whole run. Steps allocate and free; then come a spike of
//! sessions, a pause, and steps again.

use std::thread;
use std::time::{Duration, Instant};

use warmheap::config::MIB;
use warmheap::{AllocError, Buffer, Pool};

/// The time from one step to the next.
const STEP: Duration = Duration::from_millis(20);
/// The step at which the spike begins.
const SPIKE: u32 = 50;
/// The step at which the spike ends and the pause begins.
const PAUSE: u32 = 100;
/// The step at which the pause ends.
const WORK: u32 = 200;
/// The step at which the run ends.
const END: u32 = 250;

/// The live bytes of the model.
const MODEL: u64 = 256 * MIB;
/// The live bytes of each step.
const SCRATCH: u64 = 64 * MIB;
/// The number of sessions that begin with each step of the spike.
const SESSIONS: usize = 2;
/// One session in so many outlives the spike.
const OUTLIVE: usize = 16;

/// The figures of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) time: Duration,
    pub(crate) live: u64,
    pub(crate) held: u64,
}

/// The figures of a whole run.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) samples: Vec<Sample>,
    pub(crate) device_calls: u64,
}

impl Course {
    /// Returns the figures at the end of the pause.
    pub(crate) fn rested(&self) -> Sample {
        self.samples[WORK as usize - 1]
    }
}

pub(crate) fn run(pool: &Pool) -> Result<Course, AllocError> {
    let mut random = fastrand::Rng::with_seed(7);
    let model = fill(pool, MODEL, &mut random)?;
    let mut sessions: Vec<Vec<Buffer>> = Vec::new();
    let mut samples = Vec::new();
    let begun = Instant::now();
    for step in 0..END {
        match step {
            SPIKE..PAUSE => {
                for _ in 0..SESSIONS {
                    sessions.push(session(pool, &mut random)?);
                }
            }
            PAUSE => {
                let mut turn = 0..;
                sessions.retain(|_| turn.next().is_some_and(|turn: usize| turn.is_multiple_of(OUTLIVE)));
            }
            _ => {}
        }
        let paused = (PAUSE..WORK).contains(&step);
        let scratch = if paused { Vec::new() } else { fill(pool, SCRATCH, &mut random)? };
        let live = model.iter().chain(sessions.iter().flatten()).chain(&scratch).map(Buffer::size).sum();
        samples.push(Sample { time: begun.elapsed(), live, held: pool.reserved_bytes() });
        drop(scratch);
        thread::sleep(((step + 1) * STEP).saturating_sub(begun.elapsed()));
    }
    Ok(Course { samples, device_calls: pool.statistics().device_calls })
}

/// Allocates a key-value cache and some small buffers.
fn session(pool: &Pool, random: &mut fastrand::Rng) -> Result<Vec<Buffer>, AllocError> {
    let cache = random.u64(4 * MIB..24 * MIB);
    let sizes = [cache].into_iter().chain((0..4).map(|_| random.u64(1..64 << 10)));
    sizes.map(|size| pool.allocate(size)).collect()
}

/// Allocates buffers of at least so many bytes together. Most buffers are small, but most bytes are in large
/// ones.
fn fill(pool: &Pool, bytes: u64, random: &mut fastrand::Rng) -> Result<Vec<Buffer>, AllocError> {
    let mut buffers = Vec::new();
    let mut left = bytes;
    while left > 0 {
        let large = random.u8(..4) == 0;
        let size = if large { random.u64(2 * MIB..16 * MIB) } else { random.u64(1..256 << 10) };
        buffers.push(pool.allocate(size)?);
        left = left.saturating_sub(size);
    }
    Ok(buffers)
}

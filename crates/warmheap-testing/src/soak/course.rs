//! One round: a pool with its own settings, on which several threads play until it closes.
//!
//! Threads wait for each other after each leg and pin what may move. While they wait, the pool's figures
//! are compared with those counted here. In half of the rounds the pool closes in the middle of a last
//! leg, while the threads play on with the buffers that they hold.
#![forbid(unsafe_code)]

use std::sync::Arc;

use fastrand::Rng;
use warmheap::Pool;
use warmheap::device::Device;
use warmheap_trace::Program;

use super::figures::Figures;
use super::finding::{Finding, same};
use super::parts::faulty_device::{Faults, FaultyDevice};
use super::parts::held::{Held, look_at};
use super::parts::setting::Setting;
use super::round::Round;
use super::{Soak, callbacks, workers};
use crate::lock;

/// Starts a pool. Returns `None` if the faulty device refused.
pub(super) fn start(
    soak: &Soak,
    programs: &[Program],
    device: &Arc<dyn Device>,
    figures: &Arc<Figures>,
    rng: &mut Rng,
) -> Result<Option<Arc<Round>>, Finding> {
    let threads = soak.threads.max(1);
    let asked = (0..threads).map(|thread| programs[thread % programs.len()].summary());
    let demand = asked.map(|summary| summary.peak_live_bytes).fold(0, u64::saturating_add);
    let setting = Setting::new(&device.limits(), demand, soak.heaps, rng);
    let faults = Faults::new(Arc::clone(figures));
    if rng.u8(..4) == 0 {
        faults.fail(rng.u64(1..8), rng.u8(..4) == 0);
    }
    let faulty = FaultyDevice { inner: Arc::clone(device), faults: Arc::clone(&faults) };
    let pool = match Pool::new(Arc::new(faulty), setting.config.clone()) {
        Ok(pool) => pool,
        Err(error) if faults.troubles() == 0 => return Err(Finding::Start(error)),
        Err(_) => return nothing_left(&faults).map(|()| None),
    };
    let queues = soak.queues.max(1) as u64;
    let round = Round::new(pool.clone(), setting, faults, Arc::clone(figures), threads, queues);
    let round = Arc::new(round);
    callbacks::register(&pool, &round, rng);
    Ok(Some(round))
}

/// Plays the round to its end. Every thread calls `alive` as it makes progress. It returns whether there
/// is time for more.
pub(super) fn play(
    round: Arc<Round>,
    programs: &[Program],
    rng: &mut Rng,
    alive: &(dyn Fn() -> bool + Sync),
) -> Result<(), Finding> {
    let mut held = workers::play(&round, programs, rng, alive);
    rng.shuffle(&mut held);
    let mut late = held.split_off(held.len() / 2);
    round.note(|| compare_alone(&round, &held, &late, rng));
    round.note(|| held.into_iter().try_for_each(|held| held.free(&round.oracle)));
    round.note(|| compare_alone(&round, &[], &late, rng));
    late.append(&mut lock(&round.around));
    end(round, late)
}

/// Compares once more, when all threads have ended and this one has what they held.
fn compare_alone(round: &Round, held: &[Held], late: &[Held], rng: &mut Rng) -> Result<(), Finding> {
    let _views = look_at(held.iter().chain(late), &round.oracle)?;
    round.compare(true, rng)
}

/// Closes the pool, if it is open, with buffers still alive. When the last buffer is gone everything must
/// be back at the device.
fn end(round: Arc<Round>, late: Vec<Held>) -> Result<(), Finding> {
    round.faults.heal();
    for slot in &round.queues {
        slot.drain();
        slot.work().counter.go();
    }
    round.note(|| {
        round.close();
        Ok(())
    });
    if let Some(finding) = round.take_finding() {
        return Err(finding);
    }
    late.into_iter().try_for_each(|held| held.free(&round.oracle))?;
    let faults = Arc::clone(&round.faults);
    let (live, _) = round.oracle.live();
    same("buffers alive after all were freed", live, 0)?;
    // The queues' last tickets end with the round, and so does what was retired with them.
    drop(round);
    nothing_left(&faults)
}

fn nothing_left(faults: &Faults) -> Result<(), Finding> {
    same("bytes not given back", 0, faults.live_bytes())?;
    same("heaps and buffers not given back", 0, faults.live_objects())
}

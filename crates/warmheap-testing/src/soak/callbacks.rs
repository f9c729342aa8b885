//! The callbacks of a round. They own buffers, allocate, free, trim and panic, on any thread on which the
//! pool calls them.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Weak};

use fastrand::Rng;
use warmheap::{Pool, Pressure};

use super::figures::count;
use super::finding::Finding;
use super::parts::held::Held;
use super::requests::Asked;
use super::round::{Ordered, Round};
use crate::lock;

/// The most buffers that a callback keeps.
const KEPT: usize = 32;

/// A callback with buffers of its own, which are freed when it is dropped.
struct Keeper {
    round: Weak<Round>,
    rng: Mutex<Rng>,
    kept: Mutex<Vec<Held>>,
}

/// Registers callbacks with the pool of a round.
pub(super) fn register(pool: &Pool, round: &Arc<Round>, rng: &mut Rng) {
    for _ in 0..rng.usize(1..=3) {
        let keeper =
            Keeper { round: Arc::downgrade(round), rng: Mutex::new(rng.fork()), kept: Mutex::default() };
        pool.on_pressure(move |pool, pressure| keeper.called(pool, pressure));
    }
}

impl Keeper {
    fn called(&self, pool: &Pool, _: Pressure) {
        let Some(round) = self.round.upgrade().filter(|round| round.awake.load(Relaxed)) else { return };
        count(&round.figures.calls_for_help);
        let mut rng = lock(&self.rng).fork();
        match rng.u8(..16) {
            0..4 => round.note(|| self.free(&round)),
            4..8 => round.note(|| self.keep(&round, pool, &mut rng)),
            // It may fail, as any trim may.
            8..12 => _ = pool.trim(0),
            12 => Ordered::panic(),
            _ => {}
        }
    }

    /// Allocates one more buffer to keep.
    fn keep(&self, round: &Round, pool: &Pool, rng: &mut Rng) -> Result<(), Finding> {
        let asked = Asked::bytes(rng.u64(1..=(round.setting.demand >> 10).max(1)));
        let Some(buffer) = round.ask(&asked, |request| pool.allocate(request))? else { return Ok(()) };
        count(&round.figures.kept_by_callbacks);
        let held = Held::Still(round.receive(buffer, &asked, None)?);
        let mut kept = lock(&self.kept);
        kept.push(held);
        let surplus = if kept.len() > KEPT { Some(kept.swap_remove(rng.usize(..KEPT))) } else { None };
        drop(kept);
        surplus.map_or(Ok(()), |held| held.free(&round.oracle))
    }

    /// Frees every buffer.
    fn free(&self, round: &Round) -> Result<(), Finding> {
        let kept = std::mem::take(&mut *lock(&self.kept));
        kept.into_iter().try_for_each(|held| held.free(&round.oracle))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Without its round there is no oracle to tell.
        if let Some(round) = self.round.upgrade() {
            round.note(|| self.free(&round));
        }
    }
}

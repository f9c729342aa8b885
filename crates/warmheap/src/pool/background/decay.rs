//! Decay: memory that no request has needed for a while goes back to the device.
//!
//! The pool takes a sample now and then. The least that was free in a heap over several samples is what no
//! request missed in that time: the rest of a spike, not the normal variation of a steady load. First, spans
//! that a thread has cached without touching its cache go back to their heaps.
//!
//! The module owns what earlier samples found. A sample never waits for a thread that makes memory available,
//! and lets such threads in between two steps. What the settings promise stays, and so does purgeable memory.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::config::MIB;
use crate::device::DeviceError;
use crate::offsets::segments;
use crate::pool::core::idle_samples::{Looks, ROW, STILL};
use crate::pool::core::notes::Note;
use crate::pool::core::{Core, caches, queues};
use crate::pool::sizing::whole_heaps;
use crate::sync::{lock, try_lock};

/// The samples in the time after which idle memory is to be gone: those of a cache, those of the heaps that
/// its spans went back to, and one because that time begins between two samples.
const LOOKS: u32 = (STILL + ROW) as u32 + 1;
/// Less than one part in this many of the committed memory is not worth a call of the device.
const SHARE: u64 = 32;
/// The most bytes given back before other threads may make memory available again.
const STEP: u64 = 64 * MIB;

/// Takes a sample of the pool if one is due, and gives back what has been idle for about as long as `idle`.
/// Returns the time until the next sample.
pub(crate) fn tick(core: &Core, idle: Duration) -> Result<Duration, DeviceError> {
    let pause = idle / LOOKS;
    // Another thread may be taking a sample.
    let Some(mut looks) = try_lock(&core.looks) else { return Ok(pause) };
    let now = Instant::now();
    if let Some(due) = looks.due.filter(|due| *due > now) {
        return Ok((due - now).min(pause));
    }
    looks.due = Some(now + pause);
    if queues::poll_queues(core) {
        caches::flush_own_cache(core);
    }
    give_up_still_caches(core, &mut looks);
    if core.sizing.is_in_place() {
        give_back_idle(core, &mut looks)?;
    } else {
        give_back_unused(core);
    }
    Ok(pause)
}

/// Gives spans of unchanged caches back to their heaps: caches that no thread has touched for some samples.
fn give_up_still_caches(core: &Core, looks: &mut Looks) {
    let mut known = std::mem::take(&mut looks.threads);
    for local in &*lock(&core.locals) {
        let address = Arc::as_ptr(local) as usize;
        let mut still = known.remove(&address).unwrap_or_default();
        if still.is_still(local.held.load(Relaxed)) {
            caches::give_up(core, local);
        }
        looks.threads.insert(address, still);
    }
    if looks.depot.is_still(core.depot.held()) {
        core.heaps.release(core.depot.empty());
    }
}

fn give_back_idle(core: &Core, looks: &mut Looks) -> Result<(), DeviceError> {
    let arenas = core.heaps.arenas();
    looks.heaps.resize(arenas.len(), [0; ROW]);
    looks.turn = (looks.turn + 1) % ROW;
    let mut committed = 0;
    for (row, arena) in looks.heaps.iter_mut().zip(arenas) {
        let (free, held) = arena.with(|open| (open.space_mut().take_least_free(), open.space().committed()));
        row[looks.turn] = free;
        committed += u64::from(held);
    }
    let idle = |row: &[u32; ROW]| row.iter().copied().min().unwrap_or(0);
    let all: u64 = looks.heaps.iter().map(|row| u64::from(idle(row))).sum();
    if all == 0 || all < committed / SHARE {
        return Ok(());
    }
    for (index, row) in (0..).zip(&mut looks.heaps) {
        let given = give_back_from(core, index, idle(row))?;
        row.iter_mut().for_each(|free| *free = free.saturating_sub(given));
    }
    Ok(())
}

/// Gives back heaps that were unused at the last samples.
fn give_back_unused(core: &Core) {
    core.heaps.arenas().iter().for_each(|arena| arena.with(|open| segments::age_unused(open.space_mut())));
    while let Some(_alone) = core.growth.try_lock()
        && let Some(bytes) = whole_heaps::drop_aged_heap(core, ROW as u16)
    {
        core.notes.add(Note::GaveBackIdle { bytes });
    }
}

/// Gives back up to `idle` granules of a heap. Returns how much that was.
fn give_back_from(core: &Core, index: u16, idle: u32) -> Result<u32, DeviceError> {
    let step = u32::try_from(STEP >> core.shift).unwrap_or(u32::MAX);
    let mut given = 0;
    while given < idle {
        let Some(_alone) = core.growth.try_lock() else { break };
        let taken = core.sizing.give_back_pages(core, index, (idle - given).min(step))?;
        if taken == 0 {
            break;
        }
        core.notes.add(Note::GaveBackIdle { bytes: core.bytes(taken.into()) });
        given += taken;
    }
    Ok(given)
}

//! The queues that buffers wait for: those in use, and those without a handle.
//!
//! The module owns what is left behind: buffers that work in flight still uses when the last handle of their
//! queue goes. The pool polls and waits for their queues as for all others. Dropping a buffer or a queue
//! never waits. The end of the pool waits for what is left behind, for a limited time. A thread waits for the
//! buffers that a closed pool leaves behind.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::device::Queue;
use crate::pool::accounting::stages::Stage;
use crate::pool::core::buffer::Buffer;
use crate::pool::core::notes::Note;
use crate::pool::core::{Core, notes};
use crate::pool::in_flight::timeline::{Timeline, Waiting};
use crate::sync::lock;

/// How long that thread sleeps between two polls.
const PAUSE: Duration = Duration::from_millis(1);

/// With several queues to wait for, how long the pool waits for one before it goes on to the next.
const SLICE: Duration = Duration::from_micros(500);

/// How long the end of a pool, and the thread of a closed one, wait for work that still uses its memory.
const PATIENCE: Duration = Duration::from_secs(5);

impl Waiting for Buffer {
    fn outlive(self, queue: &Arc<dyn Queue>, value: u64) {
        // Once the buffer is in a list, it may be freed at any moment, and may be the pool's last.
        if let Some(pool) = self.pool().me.upgrade() {
            leave_behind(&pool, queue, value, self);
        }
    }
}

/// Keeps a buffer until a queue without a handle has completed `value`. The caller holds a reference to the
/// pool.
pub(crate) fn leave_behind(core: &Core, queue: &Arc<dyn Queue>, value: u64, buffer: Buffer) {
    let mut left = lock(&core.left.0);
    let known = left.lists.iter().find(|list| Arc::ptr_eq(list.queue(), queue)).cloned();
    let list = known.unwrap_or_else(|| {
        let list = Arc::new(Timeline::new(Arc::clone(queue)));
        left.lists.push(Arc::clone(&list));
        list
    });
    // The lock is held, because an empty list may end at any moment.
    list.retire(value, buffer.size(), buffer);
    if core.closed.load(Ordering::SeqCst) {
        watch_left(core, &mut left.watched);
    }
}

/// Waits for what was left behind until it has completed or the time is up.
pub(crate) fn wait_for_left(core: &Core) {
    let deadline = Instant::now() + PATIENCE;
    for list in core.left.lists() {
        while let Ok(true) = list.wait(deadline) {}
    }
    core.left.tidy();
}

/// Starts a thread for what the pool, which is closed now, leaves behind, if there is anything.
pub(crate) fn close_left(core: &Core) {
    let mut left = lock(&core.left.0);
    if !left.lists.is_empty() {
        watch_left(core, &mut left.watched);
    }
}

fn note_left(core: &Core) {
    let (buffers, bytes) = core.left.waiting();
    if buffers > 0 {
        core.notes.add(Note::StillInFlight { buffers, bytes });
    }
}

/// Starts a thread that polls for what a closed pool has left behind, because no request will. If no thread
/// can be started, the memory stays: a leak is better than a race.
fn watch_left(core: &Core, watched: &mut Option<Instant>) {
    let running = watched.replace(Instant::now() + PATIENCE).is_some();
    let Some(pool) = core.me.upgrade().filter(|_| !running) else { return };
    let started = thread::Builder::new().name("warmheap-end".into()).spawn(move || {
        while !has_watched_enough(&pool) {
            thread::sleep(PAUSE);
            poll_queues(&pool);
        }
        note_left(&pool);
        notes::speak(&pool);
    });
    if started.is_err() {
        *watched = None;
        core.notes.add(Note::NotWatched);
    }
}

fn has_watched_enough(core: &Core) -> bool {
    let mut left = lock(&core.left.0);
    let enough = left.lists.is_empty() || left.watched.is_none_or(|until| until <= Instant::now());
    if enough {
        left.watched = None;
    }
    enough
}

/// Adds a queue to the list of the pool, which does not keep it alive.
pub(crate) fn watch(core: &Core, timeline: &Arc<Timeline<Buffer>>) {
    let mut timelines = lock(&core.timelines);
    timelines.retain(|known| known.strong_count() > 0);
    timelines.push(Arc::downgrade(timeline));
}

/// The queues that are in use, and those that were left behind.
pub(crate) fn queues(core: &Core) -> Vec<Arc<Timeline<Buffer>>> {
    let known: Vec<_> = lock(&core.timelines).iter().filter_map(Weak::upgrade).collect();
    known.into_iter().chain(core.left.lists()).collect()
}

/// Frees what has completed on any queue. Returns `true` if anything was freed. A lost queue frees nothing,
/// and reports that to its own callers.
pub(crate) fn poll_queues(core: &Core) -> bool {
    let freed = |queue: &Arc<Timeline<Buffer>>| queue.poll(usize::MAX).unwrap_or(0);
    let freed = queues(core).iter().map(freed).sum::<usize>();
    core.left.tidy() || freed > 0
}

/// Requested bytes that wait for queues.
pub(crate) fn in_flight(core: &Core) -> u64 {
    queues(core).iter().map(|queue| queue.bytes()).fold(0, u64::saturating_add)
}

/// Requested bytes that wait for queues which are lost or have no handle.
pub(crate) fn orphaned(core: &Core) -> u64 {
    let known: Vec<_> = lock(&core.timelines).iter().filter_map(Weak::upgrade).collect();
    let lost = known.iter().filter(|queue| queue.bytes() > 0 && queue.is_here() && queue.is_lost());
    lost.map(|queue| queue.bytes()).fold(core.left.waiting().1, u64::saturating_add)
}

/// Waits until some queue has freed something. Returns `false` if the time is up or no queue will.
pub(crate) fn wait_for_queues(core: &Core, begun: Instant, patience: Duration) -> bool {
    // Within a call of the device, other threads wait for this one.
    if patience.is_zero() || core.is_within_call() {
        return false;
    }
    core.stages.tried(Stage::Wait);
    let left = || (begun + patience).saturating_duration_since(Instant::now());
    loop {
        let mut waiting = queues(core);
        waiting.retain(|queue| queue.bytes() > 0);
        let slice = if waiting.len() == 1 { Duration::MAX } else { SLICE };
        let mut alive = false;
        for queue in waiting {
            match queue.wait(Instant::now() + left().min(slice)) {
                Ok(true) => return true,
                // Another thread emptied the queue meanwhile.
                Ok(false) if queue.bytes() == 0 => return true,
                Ok(false) => alive = true,
                // A lost queue: its memory does not come back while a handle or ticket of it exists.
                Err(_) => {}
            }
        }
        if !alive || left().is_zero() {
            return false;
        }
    }
}

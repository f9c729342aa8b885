//! What waits for queues that nobody has a handle of any more.
//!
//! A buffer's drop never waits, nor does a queue's. What work in flight still uses goes into a list here,
//! which is polled and waited for as the lists of all other queues are. The end of the pool waits for
//! these, for a while; buffers that a closed pool leaves behind have a thread that waits for them.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::buffer::Buffer;
use super::lock;
use super::notes::Note;
use super::shared::Shared;
use super::timeline::{Timeline, Waiting};
use crate::device::Queue;
use crate::sync::Mutex;

/// How long the end of a pool, and the thread of a closed one, wait for work that still uses its memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long that thread sleeps between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// See the module's essay.
#[derive(Debug, Default)]
pub(crate) struct Left(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    lists: Vec<Arc<Timeline<Buffer>>>,
    /// A closed pool's thread looks until then.
    watched: Option<Instant>,
}

impl Left {
    pub(crate) fn lists(&self) -> Vec<Arc<Timeline<Buffer>>> {
        lock(&self.0).lists.clone()
    }

    /// Ends the lists that have nothing left to wait for; `true` if that freed something.
    pub(crate) fn tidy(&self) -> bool {
        let over: Vec<_> =
            self.lists().into_iter().filter(|list| list.len() == 0 || list.is_lost()).collect();
        if over.is_empty() {
            return false;
        }
        let is_over = |list: &mut Arc<_>| over.iter().any(|over| Arc::ptr_eq(over, list));
        let gone: Vec<_> = lock(&self.0).lists.extract_if(.., is_over).collect();
        // Queues end with their lists, and buffers of lost ones: without the lock.
        gone.iter().any(|list| list.len() > 0)
    }

    /// Buffers that wait, and their bytes.
    fn waiting(&self) -> (usize, u64) {
        self.lists()
            .iter()
            .fold((0, 0), |(buffers, bytes), list| (buffers + list.len(), bytes + list.bytes()))
    }
}

impl Waiting for Buffer {
    fn outlive(self, queue: &Arc<dyn Queue>, value: u64) {
        // Once it is in a list the buffer may be freed at any moment, and be the pool's last.
        if let Some(pool) = self.pool().me.upgrade() {
            pool.leave_behind(queue, value, self);
        }
    }
}

impl Shared {
    /// Keeps a buffer until a queue that has no handle any more has completed `value`. The caller holds
    /// a reference to the pool.
    pub(crate) fn leave_behind(&self, queue: &Arc<dyn Queue>, value: u64, buffer: Buffer) {
        let mut left = lock(&self.left.0);
        let known = left.lists.iter().find(|list| Arc::ptr_eq(list.queue(), queue)).cloned();
        let list = known.unwrap_or_else(|| {
            let list = Arc::new(Timeline::new(Arc::clone(queue)));
            left.lists.push(Arc::clone(&list));
            list
        });
        // With the lock held: a list that is empty may end at any moment.
        list.retire(value, buffer.size(), buffer);
        if self.closed.load(Ordering::SeqCst) {
            self.watch_left(&mut left.watched);
        }
    }

    /// Waits for what has been left behind until it is done or the time is up.
    pub(crate) fn wait_for_left(&self) {
        let deadline = Instant::now() + PATIENCE;
        for list in self.left.lists() {
            while let Ok(true) = list.wait(deadline) {}
        }
        self.left.tidy();
    }

    /// Sees to what the pool, which is closed now, leaves behind.
    pub(crate) fn close_left(&self) {
        let mut left = lock(&self.left.0);
        if !left.lists.is_empty() {
            self.watch_left(&mut left.watched);
        }
    }

    fn note_left(&self) {
        let (buffers, bytes) = self.left.waiting();
        if buffers > 0 {
            self.notes.add(Note::StillInFlight { buffers, bytes });
        }
    }

    /// Has a thread look at what a closed pool has left behind, as no request will. Where there can be no
    /// thread, the memory stays: a leak is better than a race.
    fn watch_left(&self, watched: &mut Option<Instant>) {
        let running = watched.replace(Instant::now() + PATIENCE).is_some();
        let Some(pool) = self.me.upgrade().filter(|_| !running) else { return };
        let started = thread::Builder::new().name("warmheap-end".into()).spawn(move || {
            while !pool.has_watched_enough() {
                thread::sleep(PAUSE);
                pool.poll_queues();
            }
            pool.note_left();
            pool.speak();
        });
        if started.is_err() {
            *watched = None;
            self.notes.add(Note::NotWatched);
        }
    }

    fn has_watched_enough(&self) -> bool {
        let mut left = lock(&self.left.0);
        let enough = left.lists.is_empty() || left.watched.is_none_or(|until| until <= Instant::now());
        if enough {
            left.watched = None;
        }
        enough
    }
}

//! The thread that gives idle memory back, if the settings ask for one.
//!
//! Owns that thread and its clock; what it does is a look of `idle`. It keeps no pool alive, holds
//! nothing while it sleeps, and ends with its pool: closing wakes it and waits for the step it is at.
#![forbid(unsafe_code)]

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::bursts::Bursts;
use super::lock;
use super::shared::Shared;

/// See the module's essay. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Maintainer {
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the thread to end.
#[derive(Debug, Default)]
struct End {
    reached: Mutex<bool>,
    changed: Condvar,
}

impl Maintainer {
    /// Starts the thread for a pool whose memory goes back when it has been idle for `idle`.
    pub(crate) fn start(pool: Weak<Shared>, idle: Duration) -> io::Result<Self> {
        let end = Arc::new(End::default());
        let ended = Arc::clone(&end);
        let thread = thread::Builder::new()
            .name("warmheap-maintain".into())
            .spawn(move || maintain(&pool, idle, &ended))?;
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Maintainer {
    fn drop(&mut self) {
        *lock(&self.end.reached) = true;
        self.end.changed.notify_all();
        // The thread itself may drop the last handle, if something it frees holds one.
        if let Some(thread) =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id())
        {
            // It has nothing to say but that it ended.
            let _ = thread.join();
        }
    }
}

fn maintain(pool: &Weak<Shared>, idle: Duration, end: &End) {
    let failures = Bursts::default();
    let mut pause = Duration::ZERO;
    while !end.is_reached_within(pause) {
        let Some(pool) = pool.upgrade() else { return };
        pause = pool.look(idle).unwrap_or_else(|error| {
            if failures.begins() {
                tracing::warn!(%error, "the device did not take idle memory back");
            }
            idle
        });
    }
}

impl End {
    /// Sleeps for `time`, or less if the pool ends, which is what the answer says.
    fn is_reached_within(&self, time: Duration) -> bool {
        let sleep = self.changed.wait_timeout_while(lock(&self.reached), time, |reached| !*reached);
        *sleep.unwrap_or_else(PoisonError::into_inner).0
    }
}

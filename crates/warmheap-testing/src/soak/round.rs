//! What all threads of a round share: the pool, the counts, and the first finding.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread;

use warmheap::{Pool, Tag};

use super::figures::{Figures, count};
use super::finding::Finding;
use super::parts::expected::Expected;
use super::parts::faulty_device::Faults;
use super::parts::held::{Held, Still};
use super::parts::oracle::Oracle;
use super::parts::queues::{QueueSlot, Work};
use super::parts::setting::{METERED, Setting};
use crate::lock;

/// The payload with which the soak's callbacks panic. No other panic is taken for it.
#[derive(Debug)]
pub(super) struct Ordered;

impl Ordered {
    /// Panics without a message on standard error.
    pub(super) fn panic() -> ! {
        resume_unwind(Box::new(Self))
    }
}

/// The state that all threads of a round share.
#[derive(Debug)]
pub(super) struct Round {
    /// The round's own handle; `None` once the pool is to close.
    pool: Mutex<Option<Pool>>,
    /// Whether the pool is to close. Players then drop their handles.
    pub(super) closing: AtomicBool,
    pub(super) setting: Setting,
    pub(super) faults: Arc<Faults>,
    pub(super) figures: Arc<Figures>,
    pub(super) oracle: Oracle,
    pub(super) queues: Vec<QueueSlot>,
    pub(super) tags: [Tag; 3],
    pub(super) threads: usize,
    /// The number of queues made so far.
    pub(super) queues_made: AtomicU64,
    /// Buffers that any thread may free.
    pub(super) around: Mutex<Vec<Held>>,
    pub(super) expected: Expected,
    /// The size of the largest buffer that may move.
    pub(super) longest_movable: AtomicU64,
    /// Whether callbacks do anything.
    pub(super) awake: AtomicBool,
    /// The number of threads that still have to free something in the destructors of their thread-locals.
    pub(super) leaving: AtomicU64,
    finding: Mutex<Option<Finding>>,
}

impl Round {
    /// Creates a round on `pool`.
    pub(super) fn new(
        pool: Pool,
        setting: Setting,
        faults: Arc<Faults>,
        figures: Arc<Figures>,
        threads: usize,
        queues: u64,
    ) -> Self {
        Self {
            queues: (0..queues).map(|number| QueueSlot::new(&pool, number)).collect(),
            pool: Mutex::new(Some(pool)),
            closing: AtomicBool::new(false),
            setting,
            faults,
            figures,
            oracle: Oracle::default(),
            tags: [Tag::NONE, "weights".into(), METERED.into()],
            threads,
            queues_made: AtomicU64::new(queues),
            around: Mutex::default(),
            expected: Expected::default(),
            longest_movable: AtomicU64::new(0),
            awake: AtomicBool::new(true),
            leaving: AtomicU64::new(0),
            finding: Mutex::default(),
        }
    }

    /// Returns a handle to the pool, unless the pool is to close.
    pub(super) fn pool(&self) -> Option<Pool> {
        lock(&self.pool).clone()
    }

    /// Drops all handles to the pool but the players'. The last player to drop its own closes the pool.
    pub(super) fn close(&self) {
        let pool = lock(&self.pool).take();
        self.queues.iter().for_each(QueueSlot::part);
        self.closing.store(true, Relaxed);
        self.unless_panicked(|| drop(pool));
    }

    /// Does `work`, whose failure is a finding. Only the first finding is kept.
    pub(super) fn note(&self, work: impl FnOnce() -> Result<(), Finding>) {
        let done = catch_unwind(AssertUnwindSafe(work));
        if let Err(finding) = done.unwrap_or_else(|panic| Err(Finding::panicked(&*panic))) {
            lock(&self.finding).get_or_insert(finding);
        }
    }

    /// Removes the finding and returns it.
    pub(super) fn take_finding(&self) -> Option<Finding> {
        lock(&self.finding).take()
    }

    pub(super) fn is_broken(&self) -> bool {
        lock(&self.finding).is_some()
    }

    /// Retires a buffer with a ticket for all work submitted until now.
    pub(super) fn retire(&self, held: Held, work: &Work) -> Result<(), Finding> {
        let (ticket, value) = work.submit();
        let Still { buffer, number, .. } = held.into_still(&self.oracle)?;
        self.oracle.retired(&buffer, number, work, value)?;
        buffer.retire(&ticket);
        count(&self.figures.retired);
        Ok(())
    }

    /// Leaves a buffer, which any thread may free.
    pub(super) fn leave(&self, held: Held) {
        lock(&self.around).push(held);
    }

    /// Makes a call that may run the callbacks. Returns `None` if one of them panicked as ordered.
    pub(super) fn unless_panicked<R>(&self, call: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(returned) => Some(returned),
            Err(panic) if panic.is::<Ordered>() => {
                count(&self.figures.panics);
                None
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Waits until threads that end have freed what they left.
    pub(super) fn wait_for_leftovers(&self) {
        while self.leaving.load(Acquire) > 0 {
            thread::yield_now();
        }
    }
}

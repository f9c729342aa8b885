//! What foreign code and threads do with a pool in the tests of [`foreign_code`](super::foreign_code).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use warmheap::config::MIB;
use warmheap::{Buffer, CompactionBudget, Pool, PoolConfig, PoolQueue, Request};

use crate::support::foreign::{Hooked, HookedQueue};

/// The steps of each thread in a play.
const STEPS: usize = 40;
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// What foreign code does with a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Act {
    Allocate,
    AllocateLarge,
    Free,
    Trim,
    Rest,
    Compact,
    Maintain,
    Reset,
    Look,
    Register,
    DropLast,
    Panic,
}

pub(crate) const ACTS: [Act; 12] = [
    Act::Allocate,
    Act::AllocateLarge,
    Act::Free,
    Act::Trim,
    Act::Rest,
    Act::Compact,
    Act::Maintain,
    Act::Reset,
    Act::Look,
    Act::Register,
    Act::DropLast,
    Act::Panic,
];

/// What threads and foreign code share.
#[derive(Clone, Default)]
pub(crate) struct Stage {
    pub(crate) pool: Arc<Mutex<Option<Pool>>>,
    pub(crate) buffers: Arc<Mutex<Vec<Buffer>>>,
    pub(crate) queue: Arc<Mutex<Option<PoolQueue>>>,
    pub(crate) work: Arc<HookedQueue>,
}

impl Stage {
    /// Sets the pool, and makes a queue of it.
    pub(crate) fn new(device: Hooked, config: PoolConfig) -> Self {
        let pool = Pool::new(Arc::new(device), config).unwrap();
        let stage = Self::default();
        *stage.queue.lock().unwrap() = Some(pool.queue(stage.work.clone()));
        *stage.pool.lock().unwrap() = Some(pool);
        stage
    }

    pub(crate) fn queue(&self) -> Option<PoolQueue> {
        self.queue.lock().unwrap().clone()
    }

    pub(crate) fn pool(&self) -> Option<Pool> {
        self.pool.lock().unwrap().clone()
    }

    pub(crate) fn keep(&self, buffer: Buffer) {
        self.buffers.lock().unwrap().push(buffer);
    }

    pub(crate) fn take(&self, rng: &mut Rng) -> Option<Buffer> {
        let mut buffers = self.buffers.lock().unwrap();
        let len = buffers.len();
        (len > 0).then(|| buffers.swap_remove(rng.usize(0..len)))
    }

    pub(crate) fn act(&self, act: Act) {
        if act == Act::Panic {
            panic!("{ON_PURPOSE}");
        }
        if act == Act::DropLast {
            // The end of the pool would wait for work in flight then, as the tests of `in_flight::ends` show.
            self.work.counter.complete_all();
            let queue = self.queue.lock().unwrap().take();
            let last = self.pool.lock().unwrap().take();
            return drop((queue, last));
        }
        if act == Act::Free {
            let buffers = std::mem::take(&mut *self.buffers.lock().unwrap());
            return drop(buffers);
        }
        let Some(pool) = self.pool() else { return };
        match act {
            Act::Allocate => pool.allocate(4096).into_iter().for_each(|buffer| self.keep(buffer)),
            Act::AllocateLarge => drop(pool.allocate(3 * MIB)),
            Act::Trim => _ = pool.trim(0),
            Act::Rest => _ = pool.make_purgeable(),
            Act::Compact => _ = pool.compact(CompactionBudget::unlimited()),
            Act::Maintain => _ = pool.maintain(Duration::from_millis(1)),
            Act::Reset => pool.reset_statistics(),
            Act::Look => drop((pool.statistics(), pool.leaks(), pool.metadata_bytes())),
            Act::Register => pool.on_pressure(|_, _| ()),
            Act::Free | Act::DropLast | Act::Panic => {}
        }
    }

    /// Runs one thread's part: everything that calls foreign code.
    pub(crate) fn play(&self, seed: u64) {
        let mut rng = Rng::with_seed(seed);
        for _ in 0..STEPS {
            // A panic of foreign code comes out of the call that reached it.
            let _ = catch_unwind(AssertUnwindSafe(|| self.step(&mut rng)));
        }
    }

    fn step(&self, rng: &mut Rng) {
        let size = rng.u64(1..10 * MIB);
        let request = Request::new(size).tag("kv");
        let request = if rng.bool() { request.zeroed() } else { request };
        let Some(pool) = self.pool() else {
            if let Some(mut buffer) = self.take(rng) {
                let _ = buffer.grow_or_move(buffer.size() + size);
            }
            return;
        };
        match rng.u8(0..15) {
            0..=5 => pool.allocate(request).into_iter().for_each(|buffer| self.keep(buffer)),
            6 => drop(self.take(rng)),
            7 => {
                if let Some(mut buffer) = self.take(rng) {
                    let _ = buffer.grow_or_move(buffer.size() + size);
                }
            }
            8 => pool.allocate_movable(size).into_iter().for_each(|buffer| {
                if let Some(queue) = self.queue() {
                    buffer.in_flight_until(&queue.ticket(self.work.counter.submit()));
                }
                let _ = pool.compact(CompactionBudget::unlimited());
                self.keep(buffer.into_buffer());
            }),
            9 => _ = pool.make_purgeable(),
            10 => _ = pool.trim(32 * MIB),
            11 | 12 => {
                if let (Some(queue), Some(buffer)) = (self.queue(), self.take(rng)) {
                    buffer.retire(&queue.ticket(self.work.counter.submit()));
                    queue.allocate(request).into_iter().for_each(|buffer| self.keep(buffer));
                }
            }
            13 => self.work.counter.complete_all(),
            _ => {
                let growing = pool.allocate(Request::new(size).growable(4 * size));
                growing.into_iter().for_each(|buffer| self.keep(buffer));
            }
        }
    }
}

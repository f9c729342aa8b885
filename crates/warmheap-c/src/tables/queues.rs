//! The table of queues.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use slotmap::{Key, SlotMap, new_key_type};
use warmheap::PoolQueue;
use warmheap::device::cuda::CudaQueue;
use warmheap::device::sim::SimQueue;
use warmheap::device::{DeviceError, Queue as _};
use warmheap::fork::Process;

use super::{gone, key};
use crate::status::Failure;

new_key_type! {
    pub(crate) struct QueueKey;
}

/// A queue of a pool.
pub(crate) struct OpenQueue {
    pub(crate) queue: PoolQueue,
    pub(crate) order: Order,
    /// The handle of the pool.
    pub(crate) pool: u64,
    process: Process,
    /// The highest position that a ticket of the queue has.
    last: AtomicU64,
}

/// What moves a queue forward.
pub(crate) enum Order {
    Stream(Arc<CudaQueue>),
    Program(Arc<SimQueue>),
}

impl OpenQueue {
    pub(crate) fn new(queue: PoolQueue, order: Order, pool: u64, process: Process) -> Self {
        Self { queue, order, pool, process, last: AtomicU64::new(0) }
    }

    /// Returns the position after all work submitted so far.
    pub(crate) fn signal(&self) -> Result<u64, DeviceError> {
        let value = match &self.order {
            Order::Stream(stream) => stream.signal()?,
            Order::Program(order) => order.submit(),
        };
        self.last.fetch_max(value, Ordering::AcqRel);
        Ok(value)
    }

    pub(crate) fn wait(&self, value: u64, timeout: Duration) -> Result<bool, DeviceError> {
        match &self.order {
            Order::Stream(stream) => stream.wait(value, timeout),
            Order::Program(order) => order.wait(value, timeout),
        }
    }

    /// Whether a ticket of the queue has this position.
    pub(crate) fn has_signalled(&self, value: u64) -> bool {
        (1..=self.last.load(Ordering::Acquire)).contains(&value)
    }
}

/// What tells the handles of queues from others.
const KIND: u64 = 1 << 62;

type Table = SlotMap<QueueKey, Arc<OpenQueue>>;

static QUEUES: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

fn read() -> RwLockReadGuard<'static, Table> {
    QUEUES.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks the table.
pub(crate) fn queues_locked() -> RwLockWriteGuard<'static, Table> {
    QUEUES.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn add_queue(queue: OpenQueue) -> u64 {
    queues_locked().insert(Arc::new(queue)).data().as_ffi() ^ KIND
}

pub(crate) fn queue(id: u64) -> Result<Arc<OpenQueue>, Failure> {
    let queues = read();
    let queue = queues.get(key(id ^ KIND)).ok_or_else(|| gone("queue"))?;
    queue.process.check()?;
    Ok(Arc::clone(queue))
}

pub(crate) fn remove_queue(id: u64) -> Result<Arc<OpenQueue>, Failure> {
    let mut queues = queues_locked();
    queues.get(key(id ^ KIND)).ok_or_else(|| gone("queue"))?.process.check()?;
    queues.remove(key(id ^ KIND)).ok_or_else(|| gone("queue"))
}

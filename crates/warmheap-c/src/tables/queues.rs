//! The table of queues.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use slotmap::{SlotMap, new_key_type};
use warmheap::device::cuda::CudaQueue;
use warmheap::device::sim::SimQueue;
use warmheap::device::{DeviceError, Queue as _};
use warmheap::fork::Process;
use warmheap::{PoolQueue, Ticket};

use super::{QUEUES, gone, handle, key};
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
    /// Whether the queue is closed. The lock makes a close wait for a call that lets memory wait for the
    /// queue, or that call fail.
    closed: Mutex<bool>,
}

/// What moves a queue forward.
pub(crate) enum Order {
    Stream(Arc<CudaQueue>),
    Program(Arc<SimQueue>),
}

impl OpenQueue {
    pub(crate) fn new(queue: PoolQueue, order: Order, pool: u64, process: Process) -> Self {
        Self { queue, order, pool, process, last: AtomicU64::new(0), closed: Mutex::new(false) }
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

    /// Returns the library's ticket for memory that is to wait for `value`. From then on the queue does not
    /// close before that work is done.
    pub(crate) fn ticket(&self, value: u64) -> Result<Ticket, Failure> {
        let closed = self.closed();
        if *closed { Err(gone("queue")) } else { Ok(self.queue.ticket(value)) }
    }

    /// Closes the queue for tickets, unless the program moves it and memory waits for its work.
    fn close(&self) -> Result<(), Failure> {
        let mut closed = self.closed();
        if let Order::Program(_) = self.order {
            match self.queue.unfinished() {
                // The work of a lost queue touches no memory.
                Ok(None) | Err(DeviceError::Lost { .. }) => {}
                Ok(Some(position)) => {
                    return Err(Failure::order(format!(
                        "memory waits for position {position} of this queue, whose work is not done; complete \
                         it with wh_queue_complete, or give the queue up with wh_queue_lose"
                    )));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if std::mem::replace(&mut *closed, true) { Err(gone("queue")) } else { Ok(()) }
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a ticket of the queue has this position.
    pub(crate) fn has_signalled(&self, value: u64) -> bool {
        (1..=self.last.load(Ordering::Acquire)).contains(&value)
    }
}

type Table = SlotMap<QueueKey, Arc<OpenQueue>>;

static OPEN: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

fn read() -> RwLockReadGuard<'static, Table> {
    OPEN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks the table.
pub(crate) fn queues_locked() -> RwLockWriteGuard<'static, Table> {
    OPEN.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn add_queue(queue: OpenQueue) -> u64 {
    handle(QUEUES, queues_locked().insert(Arc::new(queue)))
}

pub(crate) fn queue(id: u64) -> Result<Arc<OpenQueue>, Failure> {
    let queues = read();
    let queue = queues.get(key(QUEUES, id)).ok_or_else(|| gone("queue"))?;
    queue.process.check()?;
    Ok(Arc::clone(queue))
}

/// Closes a queue and removes it, unless memory waits for its work.
pub(crate) fn close_queue(id: u64) -> Result<Arc<OpenQueue>, Failure> {
    queue(id)?.close()?;
    queues_locked().remove(key(QUEUES, id)).ok_or_else(|| gone("queue"))
}

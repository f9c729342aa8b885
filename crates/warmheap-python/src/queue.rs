//! Queues and tickets: memory that work in flight still uses.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyAny as Any;
use warmheap::device::Queue as _;
use warmheap::device::cuda::CudaQueue;
use warmheap::device::sim::SimQueue;
use warmheap::{PoolQueue, Ticket as LibraryTicket};

use crate::buffer::{BufferBase, Held};
use crate::errors::{Class, IntoPython};
use crate::ffi::{site, stream};
use crate::fork::Origin;
use crate::open::{self, wait};
use crate::pool::MemoryPool;
use crate::request::{duration, request};

/// An order of work that memory must outlive: a CUDA stream, or an order that the program keeps.
///
/// Examples
/// --------
/// >>> import warmheap
/// >>> pool = warmheap.MemoryPool()
/// >>> queue = pool.queue()
/// >>> scratch = pool.allocate(1 << 20)
/// >>> ticket = queue.signal()        # work that uses `scratch` was submitted before
/// >>> scratch.retire(ticket)
/// >>> queue.retired_bytes
/// 1048576
/// >>> queue.complete(ticket)         # a CUDA stream does this by itself
/// >>> queue.poll()
/// 1
#[pyclass(frozen, weakref, module = "warmheap")]
pub(crate) struct Queue {
    /// `None` only while it is dropped.
    queue: Option<PoolQueue>,
    order: Order,
    origin: Origin,
    pool: Py<MemoryPool>,
}

/// Who moves the queue.
enum Order {
    Stream(Arc<CudaQueue>),
    Program(Arc<SimQueue>),
}

/// A position in a queue: all work up to some submission. From :meth:`Queue.signal`.
#[pyclass(frozen, module = "warmheap")]
pub(crate) struct Ticket {
    /// `None` only while it is dropped.
    ticket: Option<LibraryTicket>,
    value: u64,
    origin: Origin,
}

impl Ticket {
    /// The library's ticket, unless it is another process's.
    pub(crate) fn ticket(&self) -> PyResult<&LibraryTicket> {
        self.origin.check()?;
        self.ticket.as_ref().ok_or_else(|| Class::Closed.error("the ticket is gone"))
    }
}

impl Queue {
    pub(crate) fn new(pool: &Bound<'_, MemoryPool>, handle: Option<usize>) -> PyResult<Self> {
        let (py, this) = (pool.py(), pool.get());
        let library = this.pool()?;
        let (queue, order) = match (handle, this.gpu()) {
            (None, _) => {
                let order = Arc::new(SimQueue::new());
                (library.queue(order.clone()), Order::Program(order))
            }
            (Some(handle), Some(gpu)) => {
                let made = wait(py, || stream::queue(gpu, handle)).map_err(IntoPython::into_python)?;
                let order = Arc::new(made);
                (library.queue(order.clone()), Order::Stream(order))
            }
            (Some(_), None) => {
                let text = format!("{} has no streams; leave stream out", this.device_name());
                return Err(Class::Device.error(text));
            }
        };
        Ok(Self { queue: Some(queue), order, origin: this.origin(), pool: pool.clone().unbind() })
    }

    fn queue(&self) -> PyResult<&PoolQueue> {
        self.origin.check()?;
        self.queue.as_ref().ok_or_else(|| Class::Closed.error("the queue is gone"))
    }

    fn program(&self) -> PyResult<&SimQueue> {
        match &self.order {
            Order::Program(order) => Ok(order),
            Order::Stream(_) => {
                Err(Class::Request.error("the GPU completes the work of a stream, not the program"))
            }
        }
    }
}

#[pymethods]
impl Queue {
    /// The position after all work that was submitted so far. On a CUDA stream this submits a mark.
    fn signal(&self, py: Python<'_>) -> PyResult<Ticket> {
        let queue = self.queue()?;
        let value = match &self.order {
            Order::Stream(stream) => wait(py, || stream.signal()).map_err(IntoPython::into_python)?,
            Order::Program(order) => order.submit(),
        };
        Ok(Ticket { ticket: Some(queue.ticket(value)), value, origin: self.origin })
    }

    /// Says that all work up to ``ticket`` is done; for queues that the program moves.
    fn complete(&self, ticket: &Ticket) -> PyResult<()> {
        self.queue()?;
        self.program()?.complete(ticket.value);
        Ok(())
    }

    /// Whether all work up to ``ticket`` is done, after at most ``timeout`` seconds.
    #[pyo3(signature = (ticket, timeout = 0.0))]
    fn wait(&self, py: Python<'_>, ticket: &Ticket, timeout: f64) -> PyResult<bool> {
        self.queue()?;
        let timeout = duration("timeout", timeout)?;
        let value = ticket.value;
        let done = wait(py, || match &self.order {
            Order::Stream(order) => order.wait(value, timeout),
            Order::Program(order) => order.wait(value, timeout),
        });
        done.map_err(IntoPython::into_python)
    }

    /// A buffer for work that will be submitted to this queue: it may be one that the queue has
    /// retired, before its ticket completes. See :meth:`MemoryPool.allocate`.
    #[pyo3(signature = (size, *, align = 0, zeroed = false, tag = None, growable = 0, wait = None))]
    #[allow(clippy::too_many_arguments)]
    fn allocate(
        &self,
        py: Python<'_>,
        size: u64,
        align: u64,
        zeroed: bool,
        tag: Option<&str>,
        growable: u64,
        wait: Option<f64>,
    ) -> PyResult<Py<Any>> {
        let queue = self.queue()?;
        let request = request(size, align, zeroed, tag, growable, wait)?;
        let site = site::caller(py);
        let buffer = open::wait(py, || queue.allocate_at(request, site)).map_err(IntoPython::into_python)?;
        BufferBase::object(self.pool.bind(py), Held::Plain(buffer))
    }

    /// Frees the retired buffers whose work is done; says how many those were.
    fn poll(&self, py: Python<'_>) -> PyResult<usize> {
        let queue = self.queue()?;
        wait(py, || queue.poll()).map_err(IntoPython::into_python)
    }

    /// Bytes that wait for this queue.
    #[getter]
    fn retired_bytes(&self) -> PyResult<u64> {
        self.queue().map(PoolQueue::retired_bytes)
    }
}

/// Drops what may wait for work, a few seconds at the most, while other threads run.
fn let_go<T: Send>(origin: Origin, thing: Option<T>) {
    if origin.is_here() {
        let mut thing = thing;
        Python::try_attach(|py| wait(py, || drop(thing.take())));
    } else {
        std::mem::forget(thing);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let_go(self.origin, self.queue.take());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let_go(self.origin, self.ticket.take());
    }
}

//! Queues and tickets, for memory that work in flight still uses.

use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyAny as Any;
use warmheap::device::cuda::CudaQueue;
use warmheap::device::sim::SimQueue;
use warmheap::device::{DeviceError, Queue as _};
use warmheap::{PoolQueue, Ticket as LibraryTicket};

use super::request::{duration, request};
use super::stream;
use crate::contents::{Held, MemoryPool};
use crate::interpreter::errors::{Class, IntoPython};
use crate::interpreter::fork::Origin;
use crate::interpreter::site;
use crate::interpreter::wait::{self, let_go, wait};
use crate::lending::exporter;

/// An order of work that uses memory: a CUDA stream, or an order that the program keeps.
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
    /// `None` only during the drop.
    open: Option<Open>,
    origin: Origin,
    pool: Py<MemoryPool>,
}

struct Open {
    queue: PoolQueue,
    order: Order,
}

/// What moves the queue forward.
enum Order {
    Stream(Arc<CudaQueue>),
    Program(Arc<SimQueue>),
}

/// A position in a queue: all work up to one submission. :meth:`Queue.signal` returns it.
#[pyclass(frozen, module = "warmheap")]
pub(crate) struct Ticket {
    /// `None` only during the drop.
    ticket: Option<LibraryTicket>,
    value: u64,
    origin: Origin,
}

impl Ticket {
    /// Returns the library's ticket, unless it belongs to another process.
    pub(crate) fn ticket(&self) -> PyResult<&LibraryTicket> {
        self.origin.check()?;
        self.ticket.as_ref().ok_or_else(|| Class::Closed.error("the ticket is gone"))
    }

    /// Returns the position, unless it belongs to another process.
    fn value(&self) -> PyResult<u64> {
        self.ticket().map(|_| self.value)
    }
}

impl Queue {
    pub(crate) fn new(pool: &Bound<'_, MemoryPool>, handle: Option<usize>) -> PyResult<Self> {
        let (py, this) = (pool.py(), pool.get());
        let gpu = this.gpu();
        if handle.is_some() && gpu.is_none() {
            let text = format!("{} has no streams; leave stream out", this.device_name());
            return Err(Class::Device.error(text));
        }
        let open = this.wait(py, move |library| match handle.zip(gpu) {
            None => {
                let order = Arc::new(SimQueue::new());
                Ok(Open { queue: library.queue(order.clone()), order: Order::Program(order) })
            }
            Some((handle, gpu)) => {
                let order = Arc::new(stream::queue(gpu, handle)?);
                Ok(Open { queue: library.queue(order.clone()), order: Order::Stream(order) })
            }
        })?;
        let open = open.map_err(|error: DeviceError| error.into_python())?;
        Ok(Self { open: Some(open), origin: this.origin(), pool: pool.clone().unbind() })
    }

    fn open(&self) -> PyResult<&Open> {
        self.origin.check()?;
        self.open.as_ref().ok_or_else(|| Class::Closed.error("the queue is gone"))
    }
}

#[pymethods]
impl Queue {
    /// Returns the position after all work submitted so far. On a CUDA stream this submits a mark.
    fn signal(&self, py: Python<'_>) -> PyResult<Ticket> {
        let Open { queue, order } = self.open()?;
        let value = match order {
            Order::Stream(stream) => wait(py, || stream.signal()).map_err(IntoPython::into_python)?,
            Order::Program(order) => order.submit(),
        };
        Ok(Ticket { ticket: Some(queue.ticket(value)), value, origin: self.origin })
    }

    /// Notes that all work up to ``ticket`` is done, for queues that the program moves.
    fn complete(&self, ticket: &Ticket) -> PyResult<()> {
        match &self.open()?.order {
            Order::Program(order) => order.complete(ticket.value()?),
            Order::Stream(_) => {
                let text = "the GPU completes the work of a stream, not the program";
                return Err(Class::Request.error(text));
            }
        }
        Ok(())
    }

    /// Returns whether all work up to ``ticket`` is done. Waits for at most ``timeout`` seconds.
    #[pyo3(signature = (ticket, timeout = 0.0))]
    fn wait(&self, py: Python<'_>, ticket: &Ticket, timeout: f64) -> PyResult<bool> {
        let order = &self.open()?.order;
        let timeout = duration("timeout", timeout)?;
        let value = ticket.value()?;
        let done = wait(py, || match order {
            Order::Stream(order) => order.wait(value, timeout),
            Order::Program(order) => order.wait(value, timeout),
        });
        done.map_err(IntoPython::into_python)
    }

    /// Allocates a buffer for work that will be submitted to this queue. The buffer may be one that the queue
    /// has retired, even before its ticket completes. See :meth:`MemoryPool.allocate`.
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
        let queue = &self.open()?.queue;
        let request = request(size, align, zeroed, tag, growable, wait)?;
        let site = site::caller(py);
        let buffer =
            wait::wait(py, || queue.allocate(request.call_site(site))).map_err(IntoPython::into_python)?;
        exporter::object(self.pool.bind(py), Held::Plain(buffer))
    }

    /// Frees the retired buffers whose work is done, and returns their number.
    fn poll(&self, py: Python<'_>) -> PyResult<usize> {
        let queue = &self.open()?.queue;
        wait(py, || queue.poll()).map_err(IntoPython::into_python)
    }

    /// The bytes that wait for this queue.
    #[getter]
    fn retired_bytes(&self) -> PyResult<u64> {
        self.open().map(|open| open.queue.retired_bytes())
    }

    /// Shows the pool, which may hold callbacks that hold this queue.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let_go(self.origin, self.open.take());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let_go(self.origin, self.ticket.take());
    }
}

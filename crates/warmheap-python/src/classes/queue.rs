//! Queues and tickets, for memory that work in flight still uses.

use std::sync::Arc;
use std::time::Duration;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyAny as Any;
use warmheap::device::cuda::CudaQueue;
use warmheap::device::sim::SimQueue;
use warmheap::device::{DeviceError, Queue as LibraryQueue};
use warmheap::{PoolQueue, Ticket as LibraryTicket};

use super::request::request;
use super::stream;
use crate::contents::{Held, MemoryPool};
use crate::interpreter::errors::{Class, IntoPython};
use crate::interpreter::fork::Origin;
use crate::interpreter::interruptible::Interruptible;
use crate::interpreter::wait::{self, let_go, wait};
use crate::interpreter::{arguments, site};
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

impl Order {
    fn queue(&self) -> Arc<dyn LibraryQueue> {
        match self {
            Self::Stream(stream) => stream.clone(),
            Self::Program(order) => order.clone(),
        }
    }
}

/// A position in a queue: all work up to one submission. :meth:`Queue.signal` returns it.
#[pyclass(frozen, module = "warmheap")]
pub(crate) struct Ticket {
    /// `None` only during the drop.
    ticket: Option<LibraryTicket>,
    /// `None` as above.
    queue: Option<Arc<dyn LibraryQueue>>,
    value: u64,
    /// The number of its queue's pool.
    pool: u64,
    origin: Origin,
}

impl Ticket {
    /// Returns the queue and the position in it, unless they belong to another process.
    pub(crate) fn position(&self) -> PyResult<(Arc<dyn LibraryQueue>, u64)> {
        self.origin.check()?;
        let queue = self.queue.clone().ok_or_else(|| Class::Closed.error("the ticket is gone"))?;
        Ok((queue, self.value))
    }

    /// Returns the library's ticket, unless it belongs to another process.
    pub(crate) fn ticket(&self) -> PyResult<&LibraryTicket> {
        self.origin.check()?;
        self.ticket.as_ref().ok_or_else(|| Class::Closed.error("the ticket is gone"))
    }

    /// Returns the library's ticket for memory of `pool`, unless it is of another pool's queue.
    pub(crate) fn for_memory_of(&self, pool: &MemoryPool) -> PyResult<&LibraryTicket> {
        let ticket = self.ticket()?;
        if self.pool != pool.number_of_pool() {
            let text = "the ticket is of another pool's queue; make a queue of the buffer's pool";
            return Err(Class::Request.error(text));
        }
        Ok(ticket)
    }

    /// Returns the position in `queue`, unless it is one of another queue.
    fn value_in(&self, queue: &PoolQueue) -> PyResult<u64> {
        let (own, other) = (queue.number(), self.ticket()?.queue_number());
        if own != other {
            let text = format!("the ticket is of queue {other}, and this is queue {own}");
            return Err(Class::Request.error(text));
        }
        Ok(self.value)
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
                let queue = library.queue(Arc::new(Interruptible(order.clone())));
                Ok(Open { queue, order: Order::Program(order) })
            }
            Some((handle, gpu)) => {
                let order = Arc::new(stream::queue(gpu, handle)?);
                let queue = library.queue(Arc::new(Interruptible(order.clone())));
                Ok(Open { queue, order: Order::Stream(order) })
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
            Order::Stream(stream) => wait(py, || stream.signal())?.map_err(IntoPython::into_python)?,
            Order::Program(order) => order.submit(),
        };
        let (ticket, queue) = (Some(queue.ticket(value)), Some(order.queue()));
        let pool = self.pool.bind(py).get().number_of_pool();
        Ok(Ticket { ticket, queue, value, pool, origin: self.origin })
    }

    /// Notes that all work up to ``ticket`` is done, for queues that the program moves.
    fn complete(&self, #[pyo3(from_py_with = ticket_argument)] ticket: Bound<'_, Ticket>) -> PyResult<()> {
        let Open { queue, order } = self.open()?;
        let value = ticket.get().value_in(queue)?;
        match order {
            Order::Program(order) => order.complete(value),
            Order::Stream(_) => {
                let text = "the GPU completes the work of a stream, not the program";
                return Err(Class::Request.error(text));
            }
        }
        Ok(())
    }

    /// Returns whether all work up to ``ticket`` is done. Waits for at most ``timeout`` seconds.
    #[pyo3(signature = (ticket, timeout = Duration::ZERO), text_signature = "($self, ticket, timeout=0.0)")]
    fn wait(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = ticket_argument)] ticket: Bound<'_, Ticket>,
        #[pyo3(from_py_with = arguments::timeout)] timeout: Duration,
    ) -> PyResult<bool> {
        let Open { queue, order } = self.open()?;
        let (value, order) = (ticket.get().value_in(queue)?, order.queue());
        wait(py, move || Interruptible(order).wait(value, timeout))?.map_err(IntoPython::into_python)
    }

    /// Allocates a buffer for work that will be submitted to this queue. The buffer may be one that the queue
    /// has retired, even before its ticket completes. See :meth:`MemoryPool.allocate`.
    #[pyo3(signature = (size, *, align = 0, zeroed = false, tag = None, growable = 0, wait = None))]
    #[allow(clippy::too_many_arguments)]
    fn allocate(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::size)] size: u64,
        #[pyo3(from_py_with = arguments::align)] align: u64,
        #[pyo3(from_py_with = arguments::zeroed)] zeroed: bool,
        #[pyo3(from_py_with = arguments::tag)] tag: Option<String>,
        #[pyo3(from_py_with = arguments::growable)] growable: u64,
        #[pyo3(from_py_with = arguments::patience)] wait: Option<Duration>,
    ) -> PyResult<Py<Any>> {
        let queue = &self.open()?.queue;
        let request = request(size, align, zeroed, tag, growable, wait).call_site(site::caller(py));
        let pool = self.pool.bind(py);
        // A queue serves its work even if the pool is closed.
        let open = pool.get().with(Clone::clone).ok();
        let held = wait::wait(py, move || match open {
            Some(open) => open.allocate_on(queue, request),
            None => queue.allocate(request).map(Held::Plain),
        });
        exporter::object(pool, held?.map_err(IntoPython::into_python)?)
    }

    /// Frees the retired buffers whose work is done, and returns their number.
    fn poll(&self, py: Python<'_>) -> PyResult<usize> {
        let queue = &self.open()?.queue;
        wait(py, || queue.poll())?.map_err(IntoPython::into_python)
    }

    /// The bytes that wait for this queue.
    #[getter]
    fn retired_bytes(&self) -> PyResult<u64> {
        self.open().map(|open| open.queue.retired_bytes())
    }

    fn __repr__(&self) -> String {
        match self.open() {
            Ok(Open { queue, order }) => {
                let (number, bytes) = (queue.number(), queue.retired_bytes());
                let moved_by = match order {
                    Order::Stream(_) => "a CUDA stream",
                    Order::Program(_) => "the program's order",
                };
                format!("<warmheap.Queue {number}, {moved_by}, {bytes} bytes retired>")
            }
            Err(_) => "<warmheap.Queue of another process>".to_owned(),
        }
    }

    /// Shows the pool, which may hold callbacks that hold this queue.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)
    }
}

#[pymethods]
impl Ticket {
    /// Whether all work up to this position is done.
    #[getter]
    fn is_complete(&self) -> PyResult<bool> {
        self.ticket().map(LibraryTicket::is_complete)
    }

    fn __repr__(&self) -> String {
        match self.ticket() {
            Ok(ticket) => {
                let state = if ticket.is_complete() { "done" } else { "not done" };
                format!("<warmheap.Ticket {} of queue {}, {state}>", self.value, ticket.queue_number())
            }
            Err(_) => "<warmheap.Ticket of another process>".to_owned(),
        }
    }
}

/// Converts an argument.
pub(crate) fn ticket_argument<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Ticket>> {
    arguments::instance("ticket", "a Ticket", object)
}

impl Drop for Queue {
    fn drop(&mut self) {
        let_go(self.origin, self.open.take());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let_go(self.origin, (self.ticket.take(), self.queue.take()));
    }
}

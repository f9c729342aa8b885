//! The class of movable buffers.

use std::sync::Arc;

use pyo3::exceptions::PyBufferError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyAny as Any;
use warmheap::{MovableBuffer as LibraryBuffer, Ticket as LibraryTicket};

use super::queue::{Ticket, ticket_argument};
use crate::contents::{Held, HeldMovable, MemoryPool, Movable, Unusable};
use crate::interpreter::errors::Class;
use crate::interpreter::fork::Origin;
use crate::interpreter::wait::{let_go, wait};
use crate::lending::exporter;

/// A buffer that :meth:`MemoryPool.compact` may move while it is not in use, from
/// :meth:`MemoryPool.allocate_movable`.
///
/// A pin is a :class:`Buffer` that shows the memory, and keeps it in its place until the pin is freed and the
/// last view of it is gone.
///
/// Examples
/// --------
/// >>> import warmheap
/// >>> pool = warmheap.MemoryPool()
/// >>> cache = pool.allocate_movable(1 << 20, tag="kv-cache")
/// >>> with cache.pin() as pinned:
/// ...     memoryview(pinned)[0] = 7
/// >>> pool.compact()["finished"]       # may move it; its contents stay
/// True
/// >>> with cache.pin() as pinned:
/// ...     print(memoryview(pinned)[0])
/// 7
#[pyclass(frozen, weakref, module = "warmheap")]
pub(crate) struct MovableBuffer {
    /// `None` only during the drop.
    movable: Option<Arc<Movable>>,
    size: u64,
    origin: Origin,
    pool: Py<MemoryPool>,
}

impl From<Unusable> for PyErr {
    fn from(reason: Unusable) -> Self {
        match reason {
            Unusable::Freed => Class::Closed.error("the buffer was freed"),
            Unusable::Pinned(pins) => PyBufferError::new_err(format!(
                "{pins} pins or views still use the buffer; let go of them first"
            )),
        }
    }
}

impl MovableBuffer {
    pub(crate) fn new(pool: &Bound<'_, MemoryPool>, held: HeldMovable) -> Self {
        let size = held.buffer().size();
        let movable = Some(Movable::new(held));
        Self { movable, size, origin: pool.get().origin(), pool: pool.clone().unbind() }
    }

    fn movable(&self) -> PyResult<&Arc<Movable>> {
        self.origin.check()?;
        self.movable.as_ref().ok_or_else(|| Unusable::Freed.into())
    }

    fn ticket<'a>(&self, py: Python<'a>, ticket: &'a Bound<'_, Ticket>) -> PyResult<&'a LibraryTicket> {
        ticket.get().for_memory_of(self.pool.bind(py).get())
    }
}

#[pymethods]
impl MovableBuffer {
    /// The requested bytes.
    #[getter]
    fn size(&self) -> u64 {
        self.size
    }

    /// How often the buffer has been moved. Addresses from before the last move are stale.
    #[getter]
    fn moves(&self) -> PyResult<u64> {
        Ok(self.movable()?.look(LibraryBuffer::moves)?)
    }

    /// The pins, and those that are freed but still viewed.
    #[getter]
    fn pins(&self) -> PyResult<usize> {
        self.movable().map(|movable| movable.pins().0)
    }

    /// The pool that the memory belongs to.
    #[getter]
    fn pool(&self, py: Python<'_>) -> Py<MemoryPool> {
        self.pool.clone_ref(py)
    }

    /// Whether the program has freed or retired it.
    #[getter]
    fn is_freed(&self) -> bool {
        self.movable.as_ref().is_none_or(|movable| movable.pins().1)
    }

    /// Returns a :class:`Buffer` that shows the memory, which stays in its place until that buffer is freed
    /// and its views are gone. Any number of pins may be alive. Waits for the end of a move.
    ///
    /// :meth:`Buffer.retire` ends the pin, and keeps the buffer in its place until work in flight is done.
    fn pin(&self, py: Python<'_>) -> PyResult<Py<Any>> {
        let movable = Arc::clone(self.movable()?);
        let pin = wait(py, move || movable.pin())??;
        exporter::object(self.pool.bind(py), Held::Pinned(pin))
    }

    /// Keeps the buffer in its place, and its memory from any other use, until the work before ``ticket`` is done.
    /// Call this while a pin is alive, whose address that work has. Work of several queues may be noted.
    ///
    /// Raises
    /// ------
    /// RequestError
    ///     No pin is alive, or the ticket is of another pool's queue.
    fn in_flight_until(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = ticket_argument)] ticket: Bound<'_, Ticket>,
    ) -> PyResult<()> {
        let (movable, ticket) = (self.movable()?, self.ticket(py, &ticket)?);
        if movable.pins().0 == 0 {
            return Err(Class::Request.error("the buffer may move; pin it before work uses it"));
        }
        let movable = Arc::clone(movable);
        // A pin of its own, because a queue may end with its last work, and that may wait.
        Ok(wait(py, || movable.pin().map(|pin| pin.in_flight_until(ticket)))??)
    }

    /// Gives the memory back at once, or when the last pin is gone and the work is done that was noted with
    /// :meth:`in_flight_until` or by retired pins. Freeing twice does nothing.
    fn free(&self, py: Python<'_>) -> PyResult<()> {
        let movable = self.movable()?;
        wait(py, || drop(movable.free()))
    }

    /// Gives the memory back once the work before ``ticket``, and all that was noted before, is done. Does not wait
    /// for that work, but for the end of a move of this buffer.
    ///
    /// Raises
    /// ------
    /// BufferError
    ///     Pins are alive, through which the program could still write to it.
    fn retire(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = ticket_argument)] ticket: Bound<'_, Ticket>,
    ) -> PyResult<()> {
        let (movable, ticket) = (self.movable()?, self.ticket(py, &ticket)?);
        Ok(wait(py, || movable.take().map(|held| held.retire(ticket)))??)
    }

    /// Returns a :class:`Buffer` with the memory, which does not move any more. This object is freed then.
    ///
    /// Raises
    /// ------
    /// BufferError
    ///     Pins are alive.
    #[pyo3(name = "into_buffer")]
    fn fixed(&self, py: Python<'_>) -> PyResult<Py<Any>> {
        let movable = self.movable()?;
        let held = wait(py, || movable.take().map(Held::from))??;
        exporter::object(self.pool.bind(py), held)
    }

    fn __enter__(slf: Py<Self>) -> PyResult<Py<Self>> {
        slf.get().movable()?.look(|_| ())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, Any>) -> PyResult<()> {
        self.free(py)
    }

    fn __repr__(&self) -> String {
        match self.movable().map(|movable| movable.pins()) {
            Ok((pins, false)) => format!("<warmheap.MovableBuffer of {} bytes, {pins} pins>", self.size),
            _ => format!("<warmheap.MovableBuffer of {} bytes, freed>", self.size),
        }
    }

    /// Shows the pool, which may hold callbacks that hold this buffer.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)
    }
}

impl Drop for MovableBuffer {
    fn drop(&mut self) {
        if let Some(movable) = self.movable.take() {
            // Pins keep the buffer.
            let held = if self.origin.is_here() { movable.free() } else { None };
            let_go(self.origin, (held, movable));
        }
    }
}

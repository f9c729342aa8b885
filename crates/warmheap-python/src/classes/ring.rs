//! The bound on work in flight that `krserve_native` names `CommandBufferRing`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::queue::{Ticket, ticket_argument};
use crate::interpreter::arguments;
use crate::interpreter::errors::Class;
use crate::interpreter::fork::Origin;
use crate::interpreter::values::to_python;
use crate::interpreter::wait::{let_go, wait};
use crate::transfers::ring::{Position, Ring, Snapshot};

/// Places for work in flight.
#[pyclass(frozen, weakref, name = "_Ring", module = "warmheap._native")]
pub(crate) struct RingObject {
    /// `None` only during the drop.
    ring: Option<Arc<Ring>>,
    timeout: Option<Duration>,
    origin: Origin,
}

/// A place in a :class:`CommandBufferRing`, taken by ``acquire_buffer()``. An object that ends without
/// ``release_buffer()`` gives its place back.
#[pyclass(frozen, name = "_CommandBuffer", module = "warmheap._native")]
pub(crate) struct Place {
    /// `None` only during the drop.
    ring: Option<Arc<Ring>>,
    released: AtomicBool,
    taken: Instant,
    origin: Origin,
}

impl Place {
    /// Gives the place back, unless that was done before. Returns whether it was not.
    fn release(&self, work: Option<Position>) -> bool {
        let first = !self.released.swap(true, Relaxed);
        if let Some(ring) = self.ring.as_ref().filter(|_| first) {
            ring.release(work, self.taken.elapsed());
        }
        first
    }
}

impl RingObject {
    fn ring(&self) -> PyResult<&Arc<Ring>> {
        self.origin.check()?;
        self.ring.as_ref().ok_or_else(|| Class::Closed.error("the ring is gone"))
    }
}

#[pymethods]
impl RingObject {
    #[new]
    fn new(size: usize, timeout_ms: u64, counts: bool, logs: bool) -> Self {
        let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
        Self { ring: Some(Arc::new(Ring::new(size, counts, logs))), timeout, origin: Origin::here() }
    }

    /// Takes a place. Waits for one if all are in use.
    fn acquire(&self, py: Python<'_>) -> PyResult<Place> {
        let (ring, timeout) = (self.ring()?, self.timeout);
        let taken = wait(py, || {
            let ring = Arc::clone(ring);
            let released = AtomicBool::new(!ring.acquire(timeout));
            // A place that an exception overtakes gives itself back.
            Place { ring: Some(ring), released, taken: Instant::now(), origin: self.origin }
        })?;
        if taken.released.load(Relaxed) {
            let (size, waited) = (ring.size(), timeout.unwrap_or_default().as_millis());
            let text = format!("all {size} command buffers stayed in use for {waited} ms (timeout_ms)");
            return Err(Class::Device.error(text));
        }
        Ok(taken)
    }

    /// Gives a place back. It comes free once the work before ``ticket`` is done, or now without a ticket.
    #[pyo3(signature = (buffer, ticket))]
    fn release(
        &self,
        #[pyo3(from_py_with = place)] buffer: Bound<'_, Place>,
        #[pyo3(from_py_with = maybe_ticket)] ticket: Option<Bound<'_, Ticket>>,
    ) -> PyResult<()> {
        let (ring, place) = (self.ring()?, buffer.get());
        if !place.ring.as_ref().is_some_and(|of| Arc::ptr_eq(of, ring)) {
            return Err(Class::Request.error("buffer is of another ring"));
        }
        let position = ticket.map(|ticket| ticket.get().position()).transpose()?;
        let position = position.map(|(queue, value)| Position { queue, value });
        if place.release(position) {
            Ok(())
        } else {
            Err(Class::Request.error("buffer was released before; acquire another"))
        }
    }

    /// Waits until the work of all released places is done.
    fn wait_all(&self, py: Python<'_>) -> PyResult<()> {
        let ring = self.ring()?;
        wait(py, || ring.wait_for_all())
    }

    /// Returns what the ring has counted, and how it is now.
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let ring = self.ring()?;
        // A queue whose work is done may end here, and wait for its device.
        let Snapshot { figures, size, in_use, since } = wait(py, || ring.snapshot())?;
        let figures = serde_json::json!({
            "size": size,
            "in_use": in_use,
            "seconds": since.as_secs_f64(),
            "acquired": figures.acquired,
            "released": figures.released,
            "waits": figures.waits,
            "timeouts": figures.timeouts,
            "waited_us": microseconds(figures.waited),
            "longest_us": microseconds(figures.longest),
            "held_us": microseconds(figures.held_time),
        });
        Ok(to_python(py, &figures)?.cast_into::<PyDict>()?)
    }

    /// Sets every count to zero.
    fn reset(&self) -> PyResult<()> {
        self.ring().map(|ring| ring.reset())
    }
}

#[pymethods]
impl Place {
    fn __repr__(&self) -> &'static str {
        let released = self.released.load(Relaxed);
        if released { "<CommandBuffer, released>" } else { "<CommandBuffer, in use>" }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.origin.is_here() {
            self.release(None);
        }
        let_go(self.origin, self.ring.take());
    }
}

impl Drop for RingObject {
    fn drop(&mut self) {
        let_go(self.origin, self.ring.take());
    }
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn place<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Place>> {
    arguments::instance("buffer", "a buffer of acquire_buffer()", object)
}

fn maybe_ticket<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Ticket>>> {
    if object.is_none() { Ok(None) } else { ticket_argument(object).map(Some) }
}

//! The queue of copies that `krserve_native` names `BlitQueue`.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyAny as Any, PyDict};
use warmheap::device::DeviceError;

use crate::interpreter::arguments;
use crate::interpreter::errors::{Class, IntoPython, unraisable};
use crate::interpreter::fork::Origin;
use crate::interpreter::values::to_python;
use crate::interpreter::wait::{let_go, wait};
use crate::lending::copy::{Copy, Part};
use crate::transfers::queue::{self, Direction, Figures, Refusal, Transfer, TransferQueue};

/// Copies that run one after the other on a thread of their own. A pending copy keeps its ends and its queue.
#[pyclass(frozen, weakref, name = "_TransferQueue", module = "warmheap._native")]
pub(crate) struct Transfers {
    /// `None` only during the drop.
    queue: Option<Arc<TransferQueue>>,
    origin: Origin,
}

impl IntoPython for Refusal {
    fn into_python(self) -> PyErr {
        match self {
            Self::Unknown { last: 0, .. } => Class::Request.error("there is no such operation, and none was submitted"),
            Self::Unknown { operation, last } => Class::Request
                .error(format_args!("there is no operation {operation}; operations are numbered from 1 to {last}")),
            Self::OwnThread => Class::Request.error(
                "a completion runs on the queue's thread, which would wait for itself; wait on another thread",
            ),
            Self::Ended => Class::Closed.error("the program ends, and the queue takes no more copies"),
            Self::Device(error) => error.into_python(),
        }
    }
}

impl Transfers {
    fn queue(&self) -> PyResult<&Arc<TransferQueue>> {
        self.origin.check()?;
        self.queue.as_ref().ok_or_else(|| Class::Closed.error("the queue is gone"))
    }

    /// Calls `work`, which may wait.
    fn wait<R: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&Arc<TransferQueue>) -> Result<R, Refusal> + Send,
    ) -> PyResult<R> {
        let queue = self.queue()?;
        wait(py, move || work(queue))?.map_err(IntoPython::into_python)
    }

    fn submit(
        &self,
        py: Python<'_>,
        direction: Direction,
        copy: Copy,
        completion: Option<Py<Any>>,
    ) -> PyResult<u64> {
        self.wait(py, move |queue| queue.submit(direction, Operation { copy, completion }))
    }
}

/// A copy, and what the program wants called after it.
struct Operation {
    copy: Copy,
    completion: Option<Py<Any>>,
}

impl Transfer for Operation {
    fn size(&self) -> u64 {
        self.copy.size()
    }

    fn run(&mut self) -> Result<(), DeviceError> {
        self.copy.run()
    }

    /// Lets go of both ends, and then calls the completion of a copy that was made. At the interpreter's end there
    /// is nothing to call.
    fn end(self, made: bool) {
        let Self { copy, completion } = self;
        // The end of a buffer may wait for its device, so this thread has not the interpreter's lock.
        drop(copy);
        let mut completion = completion;
        let attached = Python::try_attach(|py| {
            let Some(completion) = completion.take().filter(|_| made) else { return };
            if let Err(error) = completion.call0(py) {
                unraisable(py, error, Some(completion.bind(py)));
            }
        });
        if attached.is_none() {
            std::mem::forget(completion);
        }
    }
}

#[pymethods]
impl Transfers {
    #[new]
    fn new(limit: u64, counts: bool, logs: bool) -> PyResult<Self> {
        let queue = TransferQueue::start(limit, counts, logs).map_err(IntoPython::into_python)?;
        Ok(Self { queue: Some(queue), origin: Origin::here() })
    }

    /// Submits a copy of ``source_size`` bytes into a buffer, and returns the operation's number.
    #[pyo3(signature = (source_data, source_size, dest_buffer, dest_offset, completion))]
    fn upload(
        &self,
        py: Python<'_>,
        source_data: Bound<'_, Any>,
        #[pyo3(from_py_with = arguments::source_size)] source_size: u64,
        dest_buffer: Bound<'_, Any>,
        #[pyo3(from_py_with = arguments::dest_offset)] dest_offset: u64,
        #[pyo3(from_py_with = arguments::completion)] completion: Option<Py<Any>>,
    ) -> PyResult<u64> {
        let from = Part { name: "source_data", object: source_data, offset: 0, is_buffer: false };
        let to = Part { name: "dest_buffer", object: dest_buffer, offset: dest_offset, is_buffer: true };
        self.queue()?;
        self.submit(py, Direction::Upload, Copy::new(&from, &to, source_size)?, completion)
    }

    /// Submits a copy of ``dest_size`` bytes out of a buffer, and returns the operation's number.
    #[pyo3(signature = (source_buffer, source_offset, dest_data, dest_size, completion))]
    fn download(
        &self,
        py: Python<'_>,
        source_buffer: Bound<'_, Any>,
        #[pyo3(from_py_with = arguments::source_offset)] source_offset: u64,
        dest_data: Bound<'_, Any>,
        #[pyo3(from_py_with = arguments::dest_size)] dest_size: u64,
        #[pyo3(from_py_with = arguments::completion)] completion: Option<Py<Any>>,
    ) -> PyResult<u64> {
        let from =
            Part { name: "source_buffer", object: source_buffer, offset: source_offset, is_buffer: true };
        let to = Part { name: "dest_data", object: dest_data, offset: 0, is_buffer: false };
        self.queue()?;
        self.submit(py, Direction::Download, Copy::new(&from, &to, dest_size)?, completion)
    }

    /// Returns whether an operation has completed within ``timeout_ms``, or at all if that is 0.
    fn wait_for_completion(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::operation_id)] operation_id: u64,
        #[pyo3(from_py_with = arguments::timeout_ms)] timeout_ms: u64,
    ) -> PyResult<bool> {
        let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
        self.wait(py, move |queue| queue.wait(operation_id, timeout))
    }

    /// Waits for all operations submitted before.
    fn wait_for_all(&self, py: Python<'_>) -> PyResult<()> {
        self.wait(py, |queue| queue.wait_for_all())
    }

    /// Returns whether an operation has completed.
    fn is_completed(
        &self,
        #[pyo3(from_py_with = arguments::operation_id)] operation_id: u64,
    ) -> PyResult<bool> {
        self.queue()?.is_complete(operation_id).map_err(IntoPython::into_python)
    }

    /// The operations that have not completed.
    #[getter]
    fn pending(&self) -> PyResult<u64> {
        Ok(self.queue()?.pending())
    }

    /// Returns what the queue has counted.
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let Figures { uploads, downloads, upload_time, download_time, waits, waited } =
            self.queue()?.figures();
        let figures = serde_json::json!({
            "uploads": uploads,
            "downloads": downloads,
            "upload_ms": milliseconds(upload_time),
            "download_ms": milliseconds(download_time),
            "waits": waits,
            "waited_ms": milliseconds(waited),
        });
        Ok(to_python(py, &figures)?.cast_into::<PyDict>()?)
    }

    /// Sets every count to zero.
    fn reset(&self) -> PyResult<()> {
        self.queue().map(|queue| queue.reset())
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        let_go(self.origin, self.queue.take());
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Ends all queues of copies, so that none of their threads runs Python code afterwards.
#[pyfunction]
#[pyo3(name = "_end_transfers")]
pub(crate) fn end(py: Python<'_>) -> PyResult<()> {
    let live = queue::live();
    wait(py, move || live.iter().try_for_each(|queue| queue.end()))?.map_err(IntoPython::into_python)
}

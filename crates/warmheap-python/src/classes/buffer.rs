//! The methods of buffers.

use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyAny as Any;
use warmheap::{Buffer, CallSite, Request, Tag};

use super::queue::{Ticket, ticket_argument};
use crate::contents::{BufferBase, MemoryPool};
use crate::interpreter::errors::{Class, IntoPython};
use crate::interpreter::wait::wait;
use crate::interpreter::{arguments, log, site};
use crate::lending::{dlpack, exporter};

/// What DLPack calls the device.
fn dlpack_device(buffer: &BufferBase, py: Python<'_>) -> dlpack::Device {
    buffer.owner().bind(py).get().gpu().map_or(dlpack::Device::CPU, dlpack::Device::cuda)
}

/// The address that DLPack wants on `device`, if array libraries can use the memory.
fn dlpack_address(buffer: &Buffer, device: dlpack::Device) -> Option<u64> {
    if device == dlpack::Device::CPU {
        buffer.host_ptr().map(|address| address.as_ptr().expose_provenance() as u64)
    } else {
        Some(buffer.device_address())
    }
}

fn unreachable_memory() -> PyErr {
    PyBufferError::new_err("no array library can reach this device's memory")
}

#[pymethods]
impl BufferBase {
    /// The requested bytes.
    #[getter]
    fn size(&self) -> PyResult<u64> {
        self.look(Buffer::size)
    }

    /// The same as :attr:`size`, under the name that array libraries use.
    #[getter]
    fn nbytes(&self) -> PyResult<u64> {
        self.size()
    }

    /// The device's address of the first byte.
    #[getter]
    fn device_address(&self) -> PyResult<u64> {
        self.look(Buffer::device_address)
    }

    /// The device's name, as :class:`MemoryPool` takes it: ``host``, ``cuda:0``.
    #[getter]
    fn device<'a>(&'a self, py: Python<'a>) -> &'a str {
        self.owner().bind(py).get().device_name()
    }

    /// The pool that the memory belongs to.
    #[getter]
    fn pool(&self, py: Python<'_>) -> Py<MemoryPool> {
        self.owner().clone_ref(py)
    }

    /// The purpose of the buffer, or ``None``.
    #[getter]
    fn tag(&self) -> PyResult<Option<&'static str>> {
        self.look(|buffer| Some(buffer.tag()).filter(|tag| *tag != Tag::NONE).map(Tag::name))
    }

    /// The line that allocated it: ``"serve.py:42"``.
    #[getter]
    fn site(&self) -> PyResult<Option<String>> {
        self.look(|buffer| buffer.site().as_ref().map(CallSite::to_string))
    }

    /// Whether the buffer is straight from the device, because no heap could serve the request.
    #[getter]
    fn is_fallback(&self) -> PyResult<bool> {
        self.look(Buffer::is_fallback)
    }

    /// Whether the program has freed or retired it.
    #[getter]
    fn is_freed(&self) -> bool {
        self.was_freed()
    }

    /// Gives the memory back at once, or when the last view of it is gone. Freeing twice does nothing.
    fn free(&self, py: Python<'_>) -> PyResult<()> {
        self.give_back()?;
        log::deliver(py);
        Ok(())
    }

    /// Makes the buffer ``size`` bytes long. Its contents stay, and the new part is uninitialised.
    ///
    /// The buffer grows in place: into free memory behind it, or into the room that
    /// ``allocate(growable=...)`` reserved. Views and arrays keep their length.
    ///
    /// Parameters
    /// ----------
    /// size : int
    ///     Bytes. A size below the present one changes nothing.
    /// move : bool, default False
    ///     Whether the device may copy the buffer elsewhere if there is no room. Its address changes then.
    ///
    /// Returns
    /// -------
    /// Buffer or None
    ///     The old buffer after a move. Free it, or retire it if work in flight still reads it.
    ///
    /// Raises
    /// ------
    /// GrowError
    ///     There is no room, and the buffer may not move or has views.
    /// RequestError
    ///     The buffer is a pin of a :class:`MovableBuffer`.
    ///
    /// Examples
    /// --------
    /// >>> import warmheap
    /// >>> pool = warmheap.MemoryPool()
    /// >>> cache = pool.allocate(4096, growable=1 << 30)
    /// >>> cache.grow(64 << 20)
    /// >>> cache.size
    /// 67108864
    #[pyo3(signature = (size, *, r#move = false))]
    fn grow(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::size)] size: u64,
        #[pyo3(from_py_with = arguments::may_move)] r#move: bool,
    ) -> PyResult<Option<Py<Any>>> {
        let site = site::caller(py);
        let (mut held, lent) = self.take_to_grow()?;
        // The buffer goes back into its object whatever ends the wait.
        let grown = wait(py, || {
            if r#move && !lent {
                held.grow_or_move(Request::new(size).call_site(site))
            } else {
                Some(held.grow(size)?.map(|()| None))
            }
        });
        self.put_back(held);
        let Some(grown) = grown? else {
            return Err(Class::Request
                .error("a pin cannot grow; a movable buffer has the size that it was made with"));
        };
        let behind = grown.map_err(IntoPython::into_python)?;
        behind.map(|held| exporter::object(self.owner().bind(py), held)).transpose()
    }

    /// Gives the memory back once the work before ``ticket`` is done. Returns at once. A pin of a
    /// :class:`MovableBuffer` ends, and the buffer keeps its place until then.
    ///
    /// Raises
    /// ------
    /// BufferError
    ///     Views of the buffer are alive, through which the program could still write to it.
    /// RequestError
    ///     The ticket is of another pool's queue.
    fn retire(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = ticket_argument)] ticket: Bound<'_, Ticket>,
    ) -> PyResult<()> {
        let library = ticket.get().for_memory_of(self.owner().bind(py).get())?;
        let held = self.take_to_retire()?;
        // This frees what is ready, which may call the device.
        wait(py, || {
            if let Some(held) = held {
                held.retire(library);
            }
        })
    }

    fn __enter__(slf: Py<Self>) -> PyResult<Py<Self>> {
        slf.get().look(|_| ())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, Any>) -> PyResult<()> {
        self.free(py)
    }

    fn __len__(&self) -> PyResult<usize> {
        let size = self.size()?;
        usize::try_from(size).map_err(|_| PyValueError::new_err("too large for len(); see size"))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let device = self.device(py);
        let text = self.look(|buffer| {
            let tag = Some(buffer.tag()).filter(|tag| *tag != Tag::NONE);
            let tag = tag.map_or_else(String::new, |tag| format!(", tag {:?}", tag.name()));
            let (size, address) = (buffer.size(), buffer.device_address());
            format!("<warmheap.Buffer of {size} bytes at {address:#x} on {device}{tag}>")
        });
        text.unwrap_or_else(|_| format!("<warmheap.Buffer on {device}, freed>"))
    }

    /// Shows the pool, which may hold callbacks that hold this buffer.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.owner())
    }

    /// Returns DLPack's kind and number of the device.
    fn __dlpack_device__(&self, py: Python<'_>) -> PyResult<(i32, i32)> {
        let device = dlpack_device(self, py);
        self.look(|buffer| dlpack_address(buffer, device))?.ok_or_else(unreachable_memory)?;
        Ok((device.kind, device.number))
    }

    /// Returns a DLPack capsule over the bytes, for ``from_dlpack`` of array libraries.
    ///
    /// The pool has no work of its own in flight on the memory, so ``stream`` need not wait for anything.
    #[pyo3(signature = (*, stream = None, max_version = None, dl_device = None, copy = None))]
    fn __dlpack__<'py>(
        slf: &Bound<'py, Self>,
        stream: Option<&Bound<'py, Any>>,
        #[pyo3(from_py_with = arguments::max_version)] max_version: Option<(u32, u32)>,
        #[pyo3(from_py_with = arguments::dl_device)] dl_device: Option<(i32, i32)>,
        #[pyo3(from_py_with = arguments::copy)] copy: Option<bool>,
    ) -> PyResult<Bound<'py, Any>> {
        let _ = stream;
        let this = slf.get();
        let device = dlpack_device(this, slf.py());
        if dl_device.is_some_and(|wanted| wanted != (device.kind, device.number)) || copy == Some(true) {
            return Err(PyBufferError::new_err("the memory is lent as it is: no copy, no other device"));
        }
        // The description takes the memory back at its end, also if no capsule could be made.
        let lent = this.lend(|buffer| Some((dlpack_address(buffer, device)?, buffer.size())))?;
        let (address, size) = lent.ok_or_else(unreachable_memory)?;
        dlpack::capsule(slf, device, address, size, max_version.is_some_and(|(major, _)| major >= 1))
    }
}

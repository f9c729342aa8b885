//! Buffers as Python objects.
//!
//! An object holds a buffer of the library until it is freed or goes. Memory that was lent, to a
//! view or an array, is kept until the last of them is gone, whatever the program frees before.

use std::ptr::NonNull;

use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyAny as Any;
use warmheap::{Buffer, Site, Tag, Ticket as LibraryTicket};
use warmheap_trace::Recorded;

use crate::errors::{Class, IntoPython};
use crate::ffi::{dlpack, exporter, site};
use crate::fork::Origin;
use crate::log;
use crate::open::wait;
use crate::pool::MemoryPool;
use crate::queue::Ticket;

/// What an object holds: a buffer, or one whose free will be recorded.
#[derive(Debug)]
pub(crate) enum Held {
    Plain(Buffer),
    Recorded(Recorded),
}

impl Held {
    fn buffer(&self) -> &Buffer {
        match self {
            Self::Plain(buffer) => buffer,
            Self::Recorded(buffer) => buffer,
        }
    }

    fn retire(self, ticket: &LibraryTicket) {
        match self {
            Self::Plain(buffer) => buffer.retire(ticket),
            Self::Recorded(buffer) => buffer.retire(ticket),
        }
    }
}

/// A piece of a pool's memory, from :meth:`MemoryPool.allocate`.
///
/// The memory goes back to the pool when the object does, at :meth:`free`, or at the end of a
/// ``with`` block. Its contents are uninitialised unless zeroes were asked for.
///
/// Where the CPU can reach the memory, the object is a writable buffer of bytes: ``memoryview(b)``,
/// ``numpy.frombuffer(b, numpy.float32)``. ``numpy.from_dlpack(b)`` and ``torch.from_dlpack(b)``
/// take it without a copy as well, on a GPU too, as bytes. Each view keeps the memory.
#[pyclass(subclass, weakref, name = "_Buffer", module = "warmheap")]
pub(crate) struct BufferBase {
    /// `None` once freed, and while it grows.
    held: Option<Held>,
    /// Views and arrays that use the memory.
    lent: usize,
    /// Freed by the program, and held for those it was lent to.
    freed: bool,
    origin: Origin,
    pool: Py<MemoryPool>,
}

impl BufferBase {
    /// A new object of the class that Python sees.
    #[inline]
    pub(crate) fn object(pool: &Bound<'_, MemoryPool>, held: Held) -> PyResult<Py<Any>> {
        let contents = Self {
            held: Some(held),
            lent: 0,
            freed: false,
            origin: pool.get().origin(),
            pool: pool.clone().unbind(),
        };
        exporter::object(pool.py(), contents).map(|object| object.into_any().unbind())
    }

    /// The buffer, unless it was freed or belongs to another process.
    fn buffer(&self) -> PyResult<&Buffer> {
        self.origin.check()?;
        match &self.held {
            Some(held) if !self.freed => Ok(held.buffer()),
            None if !self.freed => Err(Class::Closed.error("another thread is growing the buffer")),
            _ => Err(Class::Closed.error("the buffer was freed")),
        }
    }

    /// The CPU's pointer and the size in bytes, counted as lent.
    pub(crate) fn lend_to_cpu(&mut self) -> PyResult<(NonNull<u8>, u64)> {
        let buffer = self.buffer()?;
        let Some(address) = buffer.host() else {
            return Err(PyBufferError::new_err(
                "the CPU cannot reach this device's memory; use DLPack, as torch.from_dlpack does",
            ));
        };
        let size = buffer.size();
        self.lent += 1;
        Ok((address, size))
    }

    /// Ends one view's or array's use.
    pub(crate) fn take_back(slf: &Bound<'_, Self>) {
        let mut this = slf.borrow_mut();
        this.lent -= 1;
        if this.lent == 0 && this.freed {
            let held = this.held.take();
            drop(this);
            give_up(slf.py(), held);
        }
    }

    /// What DLPack calls the device, and the address that it wants.
    fn dlpack(&self, py: Python<'_>) -> PyResult<(dlpack::Device, u64)> {
        let buffer = self.buffer()?;
        if let Some(number) = self.pool.bind(py).get().gpu() {
            return Ok((dlpack::Device::cuda(number), buffer.address()));
        }
        match buffer.host() {
            Some(address) => Ok((dlpack::Device::CPU, address.as_ptr().expose_provenance() as u64)),
            None => Err(PyBufferError::new_err("no array library can reach this device's memory")),
        }
    }
}

/// Drops what was held, with the interpreter's lock given up where the device may be called.
fn give_up(py: Python<'_>, held: Option<Held>) {
    let Some(held) = held else { return };
    if held.buffer().is_fallback() {
        py.detach(|| drop(held));
    } else {
        drop(held);
    }
    log::deliver(py);
}

impl Drop for BufferBase {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        if !self.origin.is_here() {
            // The parent's; its pool's locks may be held for ever here.
            std::mem::forget(held);
        } else if held.buffer().is_fallback() {
            let mut held = Some(held);
            // At the interpreter's end there is no lock to give up.
            Python::try_attach(|py| give_up(py, held.take()));
        } else {
            drop(held);
        }
    }
}

#[pymethods]
impl BufferBase {
    /// Bytes that were asked for.
    #[getter]
    fn size(&self) -> PyResult<u64> {
        self.buffer().map(Buffer::size)
    }

    /// As :attr:`size`, under the name that array libraries use.
    #[getter]
    fn nbytes(&self) -> PyResult<u64> {
        self.size()
    }

    /// The device's address of the first byte.
    #[getter]
    fn address(&self) -> PyResult<u64> {
        self.buffer().map(Buffer::address)
    }

    /// The device's name, as :class:`MemoryPool` takes it: ``host``, ``cuda:0``.
    #[getter]
    fn device<'a>(&'a self, py: Python<'a>) -> &'a str {
        self.pool.bind(py).get().device_name()
    }

    /// The pool that the memory is of.
    #[getter]
    fn pool(&self, py: Python<'_>) -> Py<MemoryPool> {
        self.pool.clone_ref(py)
    }

    /// What the buffer is for, or ``None``.
    #[getter]
    fn tag(&self) -> PyResult<Option<&'static str>> {
        self.buffer().map(|buffer| Some(buffer.tag()).filter(|tag| *tag != Tag::NONE).map(Tag::name))
    }

    /// The line that asked for it: ``"serve.py:42"``.
    #[getter]
    fn site(&self) -> PyResult<Option<String>> {
        self.buffer().map(|buffer| buffer.site().as_ref().map(Site::to_string))
    }

    /// Whether it came straight from the device because no heap could serve it.
    #[getter]
    fn is_fallback(&self) -> PyResult<bool> {
        self.buffer().map(Buffer::is_fallback)
    }

    /// Whether the program has freed or retired it.
    #[getter]
    fn is_freed(&self) -> bool {
        self.freed
    }

    /// Gives the memory back: now, or when the last view of it is gone. Freeing twice does nothing.
    fn free(slf: &Bound<'_, Self>) -> PyResult<()> {
        let held = {
            let mut this = slf.borrow_mut();
            this.origin.check()?;
            this.freed = true;
            if this.lent > 0 { None } else { this.held.take() }
        };
        give_up(slf.py(), held);
        Ok(())
    }

    /// Makes the buffer ``size`` bytes long, its contents kept; what is new is uninitialised.
    ///
    /// It grows where it is: into free memory behind it, or into the room that
    /// ``allocate(growable=...)`` asked for. Views and arrays keep the length they have.
    ///
    /// Parameters
    /// ----------
    /// size : int
    ///     Bytes; fewer than it has change nothing.
    /// move : bool, default False
    ///     Whether the device may copy it elsewhere when there is no room; its address changes then.
    ///
    /// Returns
    /// -------
    /// Buffer or None
    ///     What was left behind by a move: to be freed, or retired if work in flight still reads it.
    ///
    /// Raises
    /// ------
    /// GrowError
    ///     There is no room, and it may not move or views of it are alive.
    /// RequestError
    ///     It is being recorded to a trace, which has no word for this.
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
    fn grow(slf: &Bound<'_, Self>, size: u64, r#move: bool) -> PyResult<Option<Py<Any>>> {
        let py = slf.py();
        let site = site::caller(py);
        let (mut buffer, may_move) = {
            let mut this = slf.borrow_mut();
            this.buffer()?;
            match this.held.take() {
                Some(Held::Plain(buffer)) => (buffer, r#move && this.lent == 0),
                recorded => {
                    this.held = recorded;
                    return Err(Class::Request.error("a buffer that is recorded to a trace cannot grow"));
                }
            }
        };
        let grown = wait(py, || {
            if may_move { buffer.grow_or_move_at(size, site) } else { buffer.grow(size).map(|()| None) }
        });
        // Another thread may have freed it meanwhile, or let go of its views.
        let freed = {
            let mut this = slf.borrow_mut();
            if this.freed && this.lent == 0 {
                Some(Held::Plain(buffer))
            } else {
                this.held = Some(Held::Plain(buffer));
                None
            }
        };
        give_up(py, freed);
        let pool = slf.borrow().pool.clone_ref(py);
        let behind = grown.map_err(IntoPython::into_python)?;
        behind.map(|buffer| Self::object(pool.bind(py), Held::Plain(buffer))).transpose()
    }

    /// Gives the memory back once the work before ``ticket`` is done. Returns at once.
    ///
    /// Raises
    /// ------
    /// BufferError
    ///     Views of it are alive: their program could still write to it.
    fn retire(slf: &Bound<'_, Self>, ticket: &Bound<'_, Ticket>) -> PyResult<()> {
        let library = ticket.get().ticket()?;
        let held = {
            let mut this = slf.borrow_mut();
            this.buffer()?;
            if this.lent > 0 {
                let text =
                    format!("{} views or arrays still use the buffer; let go of them first", this.lent);
                return Err(PyBufferError::new_err(text));
            }
            this.freed = true;
            this.held.take()
        };
        // Frees what is ready, for which the device may be called.
        wait(slf.py(), || held.map(|held| held.retire(library)));
        Ok(())
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        slf.buffer()?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, Any>) -> PyResult<()> {
        Self::free(slf)
    }

    fn __len__(&self) -> PyResult<usize> {
        let size = self.size()?;
        usize::try_from(size).map_err(|_| PyValueError::new_err("too large for len(); see size"))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let device = self.device(py);
        match self.buffer() {
            Err(_) => format!("<warmheap.Buffer on {device}, freed>"),
            Ok(buffer) => {
                let tag = Some(buffer.tag()).filter(|tag| *tag != Tag::NONE);
                let tag = tag.map_or_else(String::new, |tag| format!(", tag {:?}", tag.name()));
                format!(
                    "<warmheap.Buffer of {} bytes at {:#x} on {device}{tag}>",
                    buffer.size(),
                    buffer.address()
                )
            }
        }
    }

    /// DLPack's kind and number of the device.
    fn __dlpack_device__(&self, py: Python<'_>) -> PyResult<(i32, i32)> {
        self.dlpack(py).map(|(device, _)| (device.kind, device.number))
    }

    /// A DLPack capsule over the bytes, for ``from_dlpack`` of array libraries.
    ///
    /// The pool has no work of its own in flight on the memory, so ``stream`` needs no waiting.
    #[pyo3(signature = (*, stream = None, max_version = None, dl_device = None, copy = None))]
    fn __dlpack__<'py>(
        slf: &Bound<'py, Self>,
        stream: Option<&Bound<'py, Any>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, Any>> {
        let _ = stream;
        let mut this = slf.borrow_mut();
        let (device, address) = this.dlpack(slf.py())?;
        if dl_device.is_some_and(|wanted| wanted != (device.kind, device.number)) || copy == Some(true) {
            return Err(PyBufferError::new_err("the memory is lent as it is: no copy, no other device"));
        }
        let size = this.size()?;
        // The description takes it back when it ends, also when no capsule can be made.
        this.lent += 1;
        drop(this);
        dlpack::capsule(slf, device, address, size, max_version.is_some_and(|(major, _)| major >= 1))
    }
}

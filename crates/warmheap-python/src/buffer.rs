//! Buffers as Python objects.
//!
//! An object holds a buffer of the library until it is freed or goes. Memory that was lent, to a
//! view or an array, is kept until the last of them is gone, whatever the program frees before.
//!
//! Views, capsules and objects end at any moment, with an exception on its way or inside a garbage
//! collection. What ends them runs no Python code.

use std::mem;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyAny as Any;
use warmheap::{Buffer, Site, Tag, Ticket as LibraryTicket};
use warmheap_trace::Recorded;

use crate::errors::{Class, IntoPython};
use crate::ffi::{dlpack, exporter, site};
use crate::fork::Origin;
use crate::log;
use crate::open::{self, wait};
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

    /// Frees it if that calls neither the device nor the system; else returns it.
    fn free_at_once(self) -> Option<Self> {
        match self {
            Self::Plain(buffer) => buffer.free_at_once().err().map(Self::Plain),
            // The free is written to a file.
            Self::Recorded(_) => Some(self),
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
#[pyclass(frozen, subclass, weakref, name = "_Buffer", module = "warmheap")]
pub(crate) struct BufferBase {
    /// Locked for moments. No Python code runs and nothing waits meanwhile.
    state: Mutex<State>,
    origin: Origin,
    pool: Py<MemoryPool>,
}

struct State {
    /// `None` once freed, and while it grows.
    held: Option<Held>,
    /// Views and arrays that use the memory.
    lent: usize,
    /// Freed by the program, and held for those it was lent to.
    freed: bool,
}

/// Why an object has no buffer to use.
enum Gone {
    Freed,
    Growing,
}

impl From<Gone> for PyErr {
    fn from(gone: Gone) -> Self {
        Class::Closed.error(match gone {
            Gone::Freed => "the buffer was freed",
            Gone::Growing => "another thread is growing the buffer",
        })
    }
}

impl State {
    fn buffer(&self) -> Result<&Buffer, Gone> {
        match &self.held {
            Some(held) if !self.freed => Ok(held.buffer()),
            None if !self.freed => Err(Gone::Growing),
            _ => Err(Gone::Freed),
        }
    }

    /// What the object need hold no longer.
    fn unneeded(&mut self) -> Option<Held> {
        if self.freed && self.lent == 0 { self.held.take() } else { None }
    }
}

impl BufferBase {
    /// A new object of the class that Python sees.
    #[inline]
    pub(crate) fn object(pool: &Bound<'_, MemoryPool>, held: Held) -> PyResult<Py<Any>> {
        let contents = Self {
            state: Mutex::new(State { held: Some(held), lent: 0, freed: false }),
            origin: pool.get().origin(),
            pool: pool.clone().unbind(),
        };
        exporter::object(pool.py(), contents).map(|object| object.into_any().unbind())
    }

    /// Errors become exceptions only after this was let go: making them runs Python code.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the buffer, unless it was freed or belongs to another process.
    fn look<R>(&self, look: impl FnOnce(&Buffer) -> R) -> PyResult<R> {
        self.origin.check()?;
        let seen = self.state().buffer().map(look);
        Ok(seen?)
    }

    /// As [`BufferBase::look`], with the memory counted as lent if `look` finds what to lend.
    fn lend<R>(&self, look: impl FnOnce(&Buffer) -> Option<R>) -> PyResult<Option<R>> {
        self.origin.check()?;
        let found = {
            let mut state = self.state();
            let found = state.buffer().map(look);
            state.lent += usize::from(matches!(found, Ok(Some(_))));
            found
        };
        Ok(found?)
    }

    /// The CPU's pointer and the size in bytes, counted as lent.
    pub(crate) fn lend_to_cpu(&self) -> PyResult<(NonNull<u8>, u64)> {
        self.lend(|buffer| buffer.host().map(|address| (address, buffer.size())))?.ok_or_else(|| {
            PyBufferError::new_err(
                "the CPU cannot reach this device's memory; use DLPack, as torch.from_dlpack does",
            )
        })
    }

    /// Ends one view's or array's use.
    pub(crate) fn take_back(&self) {
        let unneeded = {
            let mut state = self.state();
            state.lent -= 1;
            state.unneeded()
        };
        self.give_up(unneeded);
    }

    /// Frees what was held, while other threads run if that may take time. In a child of a fork it is
    /// the parent's, whose pool's locks may be held for ever here: it is left alone.
    fn give_up(&self, held: Option<Held>) {
        if !self.origin.is_here() {
            mem::forget(held);
        } else if let Some(held) = held.and_then(Held::free_at_once) {
            open::let_go(held);
        }
    }

    /// What DLPack calls the device.
    fn dlpack_device(&self, py: Python<'_>) -> dlpack::Device {
        self.pool.bind(py).get().gpu().map_or(dlpack::Device::CPU, dlpack::Device::cuda)
    }
}

/// The address that DLPack wants on `device`, if array libraries can reach the memory.
fn dlpack_address(buffer: &Buffer, device: dlpack::Device) -> Option<u64> {
    if device == dlpack::Device::CPU {
        buffer.host().map(|address| address.as_ptr().expose_provenance() as u64)
    } else {
        Some(buffer.address())
    }
}

fn unreachable_memory() -> PyErr {
    PyBufferError::new_err("no array library can reach this device's memory")
}

impl Drop for BufferBase {
    fn drop(&mut self) {
        let held = self.state().held.take();
        self.give_up(held);
    }
}

#[pymethods]
impl BufferBase {
    /// Bytes that were asked for.
    #[getter]
    fn size(&self) -> PyResult<u64> {
        self.look(Buffer::size)
    }

    /// As :attr:`size`, under the name that array libraries use.
    #[getter]
    fn nbytes(&self) -> PyResult<u64> {
        self.size()
    }

    /// The device's address of the first byte.
    #[getter]
    fn address(&self) -> PyResult<u64> {
        self.look(Buffer::address)
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
        self.look(|buffer| Some(buffer.tag()).filter(|tag| *tag != Tag::NONE).map(Tag::name))
    }

    /// The line that asked for it: ``"serve.py:42"``.
    #[getter]
    fn site(&self) -> PyResult<Option<String>> {
        self.look(|buffer| buffer.site().as_ref().map(Site::to_string))
    }

    /// Whether it came straight from the device because no heap could serve it.
    #[getter]
    fn is_fallback(&self) -> PyResult<bool> {
        self.look(Buffer::is_fallback)
    }

    /// Whether the program has freed or retired it.
    #[getter]
    fn is_freed(&self) -> bool {
        self.state().freed
    }

    /// Gives the memory back: now, or when the last view of it is gone. Freeing twice does nothing.
    fn free(&self, py: Python<'_>) -> PyResult<()> {
        self.origin.check()?;
        let unneeded = {
            let mut state = self.state();
            state.freed = true;
            state.unneeded()
        };
        self.give_up(unneeded);
        log::deliver(py);
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
    fn grow(&self, py: Python<'_>, size: u64, r#move: bool) -> PyResult<Option<Py<Any>>> {
        let site = site::caller(py);
        self.origin.check()?;
        let (held, lent) = {
            let mut state = self.state();
            let usable = state.buffer().map(|_| ());
            (usable.map(|()| state.held.take()), state.lent > 0)
        };
        let mut buffer = match held? {
            Some(Held::Plain(buffer)) => buffer,
            recorded => {
                self.state().held = recorded;
                return Err(Class::Request.error("a buffer that is recorded to a trace cannot grow"));
            }
        };
        let (buffer, grown) = wait(py, move || {
            let grown = if r#move && !lent {
                buffer.grow_or_move_at(size, site)
            } else {
                buffer.grow(size).map(|()| None)
            };
            (buffer, grown)
        });
        // Another thread may have freed it meanwhile, or let go of its views.
        let unneeded = {
            let mut state = self.state();
            state.held = Some(Held::Plain(buffer));
            state.unneeded()
        };
        self.give_up(unneeded);
        let behind = grown.map_err(IntoPython::into_python)?;
        behind.map(|buffer| Self::object(self.pool.bind(py), Held::Plain(buffer))).transpose()
    }

    /// Gives the memory back once the work before ``ticket`` is done. Returns at once.
    ///
    /// Raises
    /// ------
    /// BufferError
    ///     Views of it are alive: their program could still write to it.
    fn retire(&self, py: Python<'_>, ticket: &Bound<'_, Ticket>) -> PyResult<()> {
        let library = ticket.get().ticket()?;
        self.look(|_| ())?;
        let (held, lent) = {
            let mut state = self.state();
            state.freed |= state.lent == 0;
            (state.unneeded(), state.lent)
        };
        if lent > 0 {
            let text = format!("{lent} views or arrays still use the buffer; let go of them first");
            return Err(PyBufferError::new_err(text));
        }
        // Frees what is ready, for which the device may be called.
        wait(py, || held.map(|held| held.retire(library)));
        Ok(())
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
            let (size, address) = (buffer.size(), buffer.address());
            format!("<warmheap.Buffer of {size} bytes at {address:#x} on {device}{tag}>")
        });
        text.unwrap_or_else(|_| format!("<warmheap.Buffer on {device}, freed>"))
    }

    /// The pool, which may hold callbacks that hold this buffer.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pool)
    }

    /// DLPack's kind and number of the device.
    fn __dlpack_device__(&self, py: Python<'_>) -> PyResult<(i32, i32)> {
        let device = self.dlpack_device(py);
        self.look(|buffer| dlpack_address(buffer, device))?.ok_or_else(unreachable_memory)?;
        Ok((device.kind, device.number))
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
        let this = slf.get();
        let device = this.dlpack_device(slf.py());
        if dl_device.is_some_and(|wanted| wanted != (device.kind, device.number)) || copy == Some(true) {
            return Err(PyBufferError::new_err("the memory is lent as it is: no copy, no other device"));
        }
        // The description takes it back when it ends, also when no capsule can be made.
        let lent = this.lend(|buffer| Some((dlpack_address(buffer, device)?, buffer.size())))?;
        let (address, size) = lent.ok_or_else(unreachable_memory)?;
        dlpack::capsule(slf, device, address, size, max_version.is_some_and(|(major, _)| major >= 1))
    }
}

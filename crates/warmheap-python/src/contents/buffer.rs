//! What a buffer's object holds.
//!
//! An object holds a buffer of the library until the program frees it or the object ends. Memory that was
//! lent to a view or an array stays until the last of them is gone, even if the program frees the buffer
//! before.
//!
//! Views, capsules and objects end at any moment, with an exception on its way or inside a garbage
//! collection. The code that ends them runs no Python code.

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use warmheap::Buffer;

use super::open::Held;
use super::pool::MemoryPool;
use crate::interpreter::errors::Class;
use crate::interpreter::fork::Origin;
use crate::interpreter::wait::let_go;

/// A piece of a pool's memory, from :meth:`MemoryPool.allocate`.
///
/// The memory goes back to the pool at the end of the object, at :meth:`free`, or at the end of a ``with``
/// block. Its contents are uninitialised unless ``zeroed`` was given.
///
/// Where the CPU can reach the memory, the object is a writable buffer of bytes: ``memoryview(b)``,
/// ``numpy.frombuffer(b, numpy.float32)``. ``numpy.from_dlpack(b)`` and ``torch.from_dlpack(b)`` also use it
/// without a copy, as bytes, on a GPU too. Each view keeps the memory.
#[pyclass(frozen, subclass, weakref, name = "_Buffer", module = "warmheap")]
pub(crate) struct BufferBase {
    /// The lock is held for moments. Meanwhile no Python code runs and nothing waits.
    state: Mutex<State>,
    origin: Origin,
    pool: Py<MemoryPool>,
}

struct State {
    /// `None` once the buffer is freed, and while it grows.
    held: Option<Held>,
    /// Views and arrays that use the memory.
    lent: usize,
    /// The buffer that the program has freed, kept for the views that still use it.
    freed: bool,
}

/// The reason why an object has no buffer to use.
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
    fn held(&self) -> Result<&Held, Gone> {
        match &self.held {
            Some(held) if !self.freed => Ok(held),
            None if !self.freed => Err(Gone::Growing),
            _ => Err(Gone::Freed),
        }
    }

    /// The parts that the object no longer needs.
    fn unneeded(&mut self) -> Option<Held> {
        if self.freed && self.lent == 0 { self.held.take() } else { None }
    }
}

impl BufferBase {
    /// The base of the class that Python sees.
    pub(crate) fn new(pool: &Bound<'_, MemoryPool>, held: Held) -> Self {
        Self {
            state: Mutex::new(State { held: Some(held), lent: 0, freed: false }),
            origin: pool.get().origin(),
            pool: pool.clone().unbind(),
        }
    }

    /// Returns the pool that the memory belongs to.
    pub(crate) fn owner(&self) -> &Py<MemoryPool> {
        &self.pool
    }

    /// Errors become exceptions only after the lock is released, because that runs Python code.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `look` with the buffer, unless it was freed or belongs to another process.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Buffer) -> R) -> PyResult<R> {
        self.origin.check()?;
        let seen = self.state().held().map(|held| held.look(look));
        Ok(seen?)
    }

    /// Does the same as [`BufferBase::look`], and counts the memory as lent if `look` finds what to lend.
    pub(crate) fn lend<R>(&self, look: impl FnOnce(&Buffer) -> Option<R>) -> PyResult<Option<R>> {
        self.origin.check()?;
        let found = {
            let mut state = self.state();
            let found = state.held().map(|held| held.look(look));
            state.lent += usize::from(matches!(found, Ok(Some(_))));
            found
        };
        Ok(found?)
    }

    /// Returns the CPU's pointer and the size in bytes, and counts the memory as lent.
    pub(crate) fn lend_to_cpu(&self) -> PyResult<(NonNull<u8>, u64)> {
        self.lend(|buffer| buffer.host_ptr().map(|address| (address, buffer.size())))?.ok_or_else(|| {
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

    /// Frees the memory at once, or when the last view of it is gone.
    pub(crate) fn give_back(&self) -> PyResult<()> {
        self.origin.check()?;
        let unneeded = {
            let mut state = self.state();
            state.freed = true;
            state.unneeded()
        };
        self.give_up(unneeded);
        Ok(())
    }

    /// Whether the program has freed or retired it.
    pub(crate) fn was_freed(&self) -> bool {
        self.state().freed
    }

    /// Takes the buffer out to grow it, until [`BufferBase::put_back`]. Also returns whether it is lent.
    pub(crate) fn take_to_grow(&self) -> PyResult<(Held, bool)> {
        self.origin.check()?;
        let taken = {
            let mut state = self.state();
            let usable = state.held().map(|_| ());
            usable.and_then(|()| state.held.take().ok_or(Gone::Growing)).map(|held| (held, state.lent > 0))
        };
        Ok(taken?)
    }

    /// Puts a buffer back. Another thread may have freed it meanwhile, or dropped its views.
    pub(crate) fn put_back(&self, held: Held) {
        let unneeded = {
            let mut state = self.state();
            state.held = Some(held);
            state.unneeded()
        };
        self.give_up(unneeded);
    }

    /// Takes the buffer out for good, to retire it, unless it is lent.
    pub(crate) fn take_to_retire(&self) -> PyResult<Option<Held>> {
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
        Ok(held)
    }

    /// Frees what was held. Other threads run meanwhile if that may take time.
    fn give_up(&self, held: Option<Held>) {
        let here = self.origin.is_here();
        if let Some(held) = held.and_then(|held| if here { held.free_at_once() } else { Some(held) }) {
            let_go(self.origin, held);
        }
    }
}

impl Drop for BufferBase {
    fn drop(&mut self) {
        let held = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).held.take();
        self.give_up(held);
    }
}

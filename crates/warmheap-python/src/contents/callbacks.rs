//! The callbacks of a pool's object.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyAny as Any;

/// The callbacks of a pool's object, in the order of registration.
#[derive(Default)]
pub(crate) struct Callbacks {
    /// The lock is held for moments, and no Python code runs meanwhile.
    list: Mutex<Vec<Py<Any>>>,
    /// Whether the library knows the object to call.
    registered: AtomicBool,
}

impl Callbacks {
    /// Adds a callback. Returns whether the library must be told which object to call.
    pub(crate) fn add(&self, callback: Py<Any>) -> bool {
        self.list().push(callback);
        !self.registered.swap(true, Relaxed)
    }

    /// Returns the present callbacks.
    pub(crate) fn all(&self, py: Python<'_>) -> Vec<Py<Any>> {
        self.list().iter().map(|callback| callback.clone_ref(py)).collect()
    }

    /// Drops all callbacks.
    pub(crate) fn end(&self) {
        let ended = mem::take(&mut *self.list());
        drop(ended);
    }

    /// Shows the garbage collector the callbacks.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // The collector takes what it cannot see now for alive.
        let Ok(list) = self.list.try_lock() else { return Ok(()) };
        list.iter().try_for_each(|callback| visit.call(callback))
    }

    fn list(&self) -> MutexGuard<'_, Vec<Py<Any>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

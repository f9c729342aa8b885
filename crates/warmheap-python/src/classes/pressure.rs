//! Tells the program that memory is short.
//!
//! The library calls back without holding any of its locks, on the thread whose request met the pressure.
//! That thread has given up the interpreter's lock and takes it again here.
//!
//! The pool's object owns the callbacks, and the library has a weak reference to that object. So the garbage
//! collector sees a callback that holds its pool or buffers of it, and callbacks end with the pool.

use pyo3::prelude::*;
use pyo3::types::{PyAny as Any, PyWeakrefMethods, PyWeakrefReference};
use warmheap::Pressure as Met;

use crate::contents::MemoryPool;
use crate::interpreter::errors::unraisable;
use crate::interpreter::wait::is_interrupted;

/// The reason for a call of a callback of :meth:`MemoryPool.on_pressure`.
#[pyclass(frozen, eq, module = "warmheap")]
#[derive(Debug, PartialEq)]
pub(crate) struct Pressure {
    /// ``"soft limit"``: the pool holds more than a soft limit allows, and has given back all that no buffer
    /// uses. ``"exhausted"``: a request is about to fail. The pool tries it once more after the callbacks.
    #[pyo3(get)]
    kind: &'static str,
    /// The bytes held from the device, at a soft limit.
    #[pyo3(get)]
    reserved: Option<u64>,
    /// The heaps and fallback buffers held, at a soft limit.
    #[pyo3(get)]
    objects: Option<u64>,
    /// The requested bytes, if a request is about to fail.
    #[pyo3(get)]
    requested: Option<u64>,
}

#[pymethods]
impl Pressure {
    fn __repr__(&self) -> String {
        match self.requested {
            Some(requested) => format!("<warmheap.Pressure: exhausted, {requested} bytes requested>"),
            None => format!("<warmheap.Pressure: soft limit, {} bytes held>", self.reserved.unwrap_or(0)),
        }
    }
}

impl Pressure {
    /// Returns `None` for a pressure that this version of the package does not know.
    fn of(met: Met) -> Option<Self> {
        let none = Self { kind: "", reserved: None, objects: None, requested: None };
        match met {
            Met::SoftLimit { reserved, objects } => {
                Some(Self { kind: "soft limit", reserved: Some(reserved), objects: Some(objects), ..none })
            }
            Met::Exhausted { requested } => {
                Some(Self { kind: "exhausted", requested: Some(requested), ..none })
            }
            _ => None,
        }
    }
}

/// Calls `callback` with the pool's object and a [`Pressure`].
pub(crate) fn add(object: &Bound<'_, MemoryPool>, callback: Py<Any>) -> PyResult<()> {
    let weak = PyWeakrefReference::new(object.as_any())?.unbind();
    object.get().with(|open| {
        if object.get().callbacks().add(callback) {
            open.pool.on_pressure(move |_, met| call(&weak, met));
        }
    })
}

/// Calls every callback of a pool's object, even if one of them raises.
fn call(object: &Py<PyWeakrefReference>, met: Met) {
    let Some(pressure) = Pressure::of(met).filter(|_| !is_interrupted()) else { return };
    // At the interpreter's end there is nothing to call.
    Python::try_attach(|py| {
        let Some(object) = object.bind(py).upgrade_as::<MemoryPool>().ok().flatten() else { return };
        let pressure = match Bound::new(py, pressure) {
            Ok(pressure) => pressure,
            Err(error) => return unraisable(py, error, Some(object.as_any())),
        };
        for callback in object.get().callbacks().all(py) {
            if let Err(error) = callback.call1(py, (&object, &pressure)) {
                unraisable(py, error, Some(callback.bind(py)));
            }
        }
    });
}

//! Telling the program that memory is short.
//!
//! The library calls back with none of its locks held, on the thread whose request met the pressure;
//! that thread has given up the interpreter's lock and takes it again here.
//!
//! The pool's object owns the callbacks, and the library knows that object weakly. So the garbage
//! collector sees a callback that holds its pool or buffers of it, and the end of the pool ends them.

use pyo3::prelude::*;
use pyo3::types::{PyAny as Any, PyWeakrefMethods, PyWeakrefReference};
use warmheap::Pressure as Met;

use crate::contents::MemoryPool;
use crate::interpreter::errors::unraisable;

/// Why a callback of :meth:`MemoryPool.on_pressure` is called.
#[pyclass(frozen, eq, module = "warmheap")]
#[derive(Debug, PartialEq)]
pub(crate) struct Pressure {
    /// ``"soft limit"``: more is held from the device than the settings say, and all that no buffer
    /// uses has been given back. ``"exhausted"``: a request is about to fail; it is tried once more
    /// after the callbacks.
    #[pyo3(get)]
    kind: &'static str,
    /// Bytes held from the device; at a soft limit.
    #[pyo3(get)]
    reserved: Option<u64>,
    /// Heaps and fallback buffers held; at a soft limit.
    #[pyo3(get)]
    objects: Option<u64>,
    /// Bytes asked for, by a request that is about to fail.
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
    /// `None` for what this version of the package does not know.
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

/// Has `callback` called with the pool's object and a [`Pressure`].
pub(crate) fn add(object: &Bound<'_, MemoryPool>, callback: Py<Any>) -> PyResult<()> {
    let weak = PyWeakrefReference::new(object.as_any())?.unbind();
    object.get().with(|open| {
        if object.get().callbacks().add(callback) {
            open.pool.on_pressure(move |_, met| call(&weak, met));
        }
    })
}

/// Calls every callback of a pool's object, whatever the others do.
fn call(object: &Py<PyWeakrefReference>, met: Met) {
    let Some(pressure) = Pressure::of(met) else { return };
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

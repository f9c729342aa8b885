//! The library's errors as exceptions. The classes are written in Python (`warmheap/_errors.py`). This module
//! finds them and chooses the class for each error.

use std::fmt::Display;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};
use warmheap::config::ConfigError;
use warmheap::device::DeviceError;
use warmheap::fork::Forked;
use warmheap::{AllocError, StartError};
use warmheap_trace::{TraceError, replay::ReplayError};

use super::pending;

/// An exception class of the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// An argument of the wrong type.
    Argument,
    Config,
    Request,
    OutOfMemory,
    Quota,
    Grow,
    Start,
    Device,
    Trace,
    Closed,
    Fork,
    /// The base class, for errors without a class of their own.
    Other,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Argument => "ArgumentError",
            Self::Config => "ConfigError",
            Self::Request => "RequestError",
            Self::OutOfMemory => "OutOfMemoryError",
            Self::Quota => "QuotaError",
            Self::Grow => "GrowError",
            Self::Start => "StartError",
            Self::Device => "DeviceError",
            Self::Trace => "TraceError",
            Self::Closed => "ClosedError",
            Self::Fork => "ForkError",
            Self::Other => "WarmheapError",
        }
    }

    /// Returns the exception with this text.
    pub(crate) fn error(self, message: impl Display) -> PyErr {
        self.with(message, |_| Ok(()))
    }

    /// Returns the exception with this text, and with the attributes that `fill` puts into a dictionary.
    fn with(self, message: impl Display, fill: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>) -> PyErr {
        let message = message.to_string();
        Python::attach(|py| {
            let made = || {
                let class = classes(py)?.getattr(self.name())?;
                let class = class.cast_into::<PyType>()?;
                let attributes = PyDict::new(py);
                fill(&attributes)?;
                class.call((message,), Some(&attributes))
            };
            made().map_or_else(|error| error, PyErr::from_value)
        })
    }
}

fn classes(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let import = || py.import("warmheap._errors").map(Bound::unbind);
    MODULE.get_or_try_init(py, import).map(|module| module.bind(py))
}

/// Finds the classes while the module is loaded; `site::prepare` says why.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    classes(py).map(drop)
}

/// Reports an exception that no caller can receive: one of a callback, or of a handler of the log in a call
/// that goes on. An interrupt is raised at the main thread's next step.
pub(crate) fn unraisable(py: Python<'_>, error: PyErr, object: Option<&Bound<'_, PyAny>>) {
    let untold =
        if error.is_instance_of::<PyKeyboardInterrupt>(py) { pending::raise_soon(error) } else { Err(error) };
    if let Err(error) = untold {
        error.write_unraisable(py, object);
    }
}

/// An error of the library on its way to Python.
pub(crate) trait IntoPython {
    fn into_python(self) -> PyErr;
}

impl IntoPython for ConfigError {
    fn into_python(self) -> PyErr {
        let problems: Vec<String> = self.problems().iter().map(ToString::to_string).collect();
        Class::Config.with(self, |attributes| attributes.set_item("problems", problems))
    }
}

/// Returns the library's refusal of a forked process as an exception.
impl IntoPython for Forked {
    #[cold]
    fn into_python(self) -> PyErr {
        let Self { parent, child } = self;
        Class::Fork.error(format_args!(
            "this belongs to process {parent}, and process {child} is a fork of it; make a pool in this process, or \
             start it with multiprocessing's \"spawn\""
        ))
    }
}

impl IntoPython for DeviceError {
    fn into_python(self) -> PyErr {
        match &self {
            Self::OutOfMemory { requested, available } => {
                let (requested, available) = (*requested, *available);
                Class::OutOfMemory.with(&self, |attributes| {
                    attributes.set_item("requested", requested)?;
                    attributes.set_item("free", available)
                })
            }
            Self::Forked(forked) => forked.into_python(),
            _ => Class::Device.error(self),
        }
    }
}

impl IntoPython for AllocError {
    fn into_python(self) -> PyErr {
        match &self {
            Self::ZeroSize | Self::BadAlignment { .. } => Class::Request.error(self),
            Self::Forked(forked) => forked.into_python(),
            Self::OutOfMemory(short) => Class::OutOfMemory.with(&self, |attributes| {
                attributes.set_item("requested", short.requested())?;
                attributes.set_item("free", short.free())?;
                attributes.set_item("largest_free", short.largest_free())?;
                attributes.set_item("reserved", short.reserved())
            }),
            Self::QuotaExceeded(past) => Class::Quota.with(&self, |attributes| {
                attributes.set_item("tag", past.tag().name())?;
                attributes.set_item("quota", past.quota())?;
                attributes.set_item("used", past.used())?;
                attributes.set_item("requested", past.requested())
            }),
            Self::CannotGrow(error) => {
                let (size, requested) = (error.size(), error.requested());
                let answer = error.device().map_or_else(String::new, |error| format!(" ({error})"));
                let text = format!(
                    "a buffer of {size} bytes has no room behind it for {requested}{answer}; ask for room with \
                     allocate(growable=...), or let it move, once no view of it is alive"
                );
                Class::Grow.with(text, |attributes| {
                    attributes.set_item("size", size)?;
                    attributes.set_item("requested", requested)
                })
            }
            _ => Class::Device.error(self),
        }
    }
}

impl IntoPython for StartError {
    fn into_python(self) -> PyErr {
        match self {
            Self::Config(error) => error.into_python(),
            Self::Unsupported { .. } => Class::Config.error(self),
            _ => Class::Start.error(self),
        }
    }
}

impl IntoPython for TraceError {
    fn into_python(self) -> PyErr {
        let line = self.line();
        Class::Trace.with(self, |attributes| attributes.set_item("line", (line > 0).then_some(line)))
    }
}

impl IntoPython for ReplayError {
    fn into_python(self) -> PyErr {
        Class::Other.error(self)
    }
}

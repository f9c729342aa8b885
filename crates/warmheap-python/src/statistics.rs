//! A snapshot of a pool. Its fields are read by name from the snapshot's JSON form, so every figure of the
//! library is here.

use std::fmt::Display;

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString, PyType};
use serde_json::{Map, Value};
use warmheap::Pool;

use crate::contents::open_pools;
use crate::interpreter::errors::Class;
use crate::interpreter::values::{from_json, from_mapping, to_dict, to_python};
use crate::interpreter::wait::wait;
use crate::interpreter::{arguments, html};

/// A snapshot of a pool's figures. ``docs/statistics.md`` describes each. Names ending in ``_mb`` are MiB.
///
/// ``pandas.json_normalize([s.to_dict() for s in snapshots])`` is a table of snapshots.
#[pyclass(frozen, eq, module = "warmheap")]
#[derive(PartialEq)]
pub(crate) struct Statistics {
    pub(crate) snapshot: warmheap::Statistics,
}

impl Statistics {
    pub(crate) fn new(snapshot: warmheap::Statistics) -> Self {
        Self { snapshot }
    }

    /// The figures by name, for a table.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (String, String)> {
        let whole = self.fields().into_iter().filter(|(_, value)| !value.is_object());
        whole.map(|(name, value)| (name, value.to_string()))
    }

    fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(&self.snapshot) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }
}

/// Converts an argument.
pub(crate) fn argument<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Statistics>> {
    arguments::instance("statistics", "Statistics", object)
}

/// Returns the figures of every open pool of the process with the pool's number.
#[pyfunction]
#[pyo3(name = "_all_statistics")]
pub(crate) fn all(py: Python<'_>) -> PyResult<Vec<(u64, Statistics)>> {
    let pools = open_pools(py);
    wait(py, move || {
        let figures = |(number, pool): (u64, Pool)| (number, Statistics::new(pool.statistics()));
        pools.into_iter().map(figures).collect()
    })
}

/// Returns the figures of named pools as one page of Prometheus text.
#[pyfunction]
#[pyo3(name = "_to_prometheus")]
pub(crate) fn to_prometheus(pools: Vec<(Bound<'_, PyAny>, Py<Statistics>)>) -> PyResult<String> {
    let named =
        pools.iter().map(|(name, figures)| Ok((arguments::pool_name(name)?, &figures.get().snapshot)));
    let named = named.collect::<PyResult<Vec<_>>>()?;
    Ok(warmheap::stats::to_prometheus(named.iter().map(|(name, figures)| (&**name, *figures))))
}

fn unreadable(error: impl Display) -> PyErr {
    Class::Request.error(format_args!("these are no statistics: {error}"))
}

#[pymethods]
impl Statistics {
    /// Reads what :meth:`to_json` returns.
    #[classmethod]
    fn from_json(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = arguments::json)] text: String,
    ) -> PyResult<Self> {
        let figures = from_json(&text).map_err(unreadable)?;
        serde_json::from_value(Value::Object(figures)).map(Self::new).map_err(unreadable)
    }

    /// Reads what :meth:`to_dict` returns.
    #[classmethod]
    fn from_dict(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = arguments::mapping)] figures: Bound<'_, PyMapping>,
    ) -> PyResult<Self> {
        serde_json::from_value(Value::Object(from_mapping(&figures)?)).map(Self::new).map_err(unreadable)
    }

    /// Returns the figures by name, in the shape of :meth:`to_json`: ``slow_path`` has a dict for each stage.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.fields())
    }

    /// Returns the figures as one JSON object.
    fn to_json(&self) -> String {
        self.snapshot.to_json()
    }

    /// Returns the figures as Prometheus text, each with the label ``pool="NAME"``. Sizes are bytes.
    fn to_prometheus(&self, #[pyo3(from_py_with = arguments::pool_name)] pool: String) -> String {
        self.snapshot.to_prometheus(&pool)
    }

    /// ``fallback_allocations / total_allocations``, or 0.0 without requests.
    #[getter]
    fn fallback_rate(&self) -> f64 {
        self.snapshot.fallback_rate()
    }

    fn __getattr__<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (name.py(), name.to_string_lossy());
        match self.fields().get(&*name) {
            Some(value) => to_python(py, value),
            None => Err(PyAttributeError::new_err(format!("statistics have no figure {name:?}"))),
        }
    }

    fn __dir__(slf: &Bound<'_, Self>) -> PyResult<Vec<String>> {
        let class = slf.get_type().dir()?.extract::<Vec<String>>()?;
        Ok(class.into_iter().chain(slf.get().fields().into_iter().map(|(name, _)| name)).collect())
    }

    fn __repr__(&self) -> String {
        let figures: Vec<String> =
            self.fields().iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("Statistics({})", figures.join(", "))
    }

    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((slf.get_type().getattr("from_json")?, (slf.get().to_json(),)))
    }

    fn _repr_html_(&self) -> String {
        html::table("Statistics", self.rows())
    }
}

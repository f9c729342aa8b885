//! A snapshot of a pool. Its fields are read by name from the snapshot's JSON form, so every figure of the
//! library is here.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Map, Value};

use crate::interpreter::values::{to_dict, to_python};

/// A snapshot of a pool's figures. ``docs/statistics.md`` describes each. Names ending in ``_mb`` are MiB.
///
/// ``pandas.DataFrame([s.to_dict() for s in snapshots])`` is a table of snapshots.
#[pyclass(frozen, eq, module = "warmheap")]
#[derive(PartialEq)]
pub(crate) struct Statistics {
    pub(crate) snapshot: warmheap::Statistics,
}

impl Statistics {
    pub(crate) fn new(snapshot: warmheap::Statistics) -> Self {
        Self { snapshot }
    }

    fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(&self.snapshot) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }
}

/// Puts the numbers of `fields` into `flat`, each under its full name.
fn flatten(prefix: &str, fields: Map<String, Value>, flat: &mut Map<String, Value>) {
    for (name, value) in fields {
        match value {
            Value::Object(parts) => flatten(&format!("{prefix}{name}."), parts, flat),
            number => drop(flat.insert(format!("{prefix}{name}"), number)),
        }
    }
}

#[pymethods]
impl Statistics {
    /// Returns the figures by name, as a flat dict of numbers. The parts of a figure have names with dots:
    /// ``slow_path.growth.tried``.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let mut flat = Map::new();
        flatten("", self.fields(), &mut flat);
        to_dict(py, &flat)
    }

    /// Returns the figures as one JSON object.
    fn to_json(&self) -> String {
        self.snapshot.to_json()
    }

    /// Returns the figures as Prometheus text, each with the label ``pool="NAME"``. Sizes are bytes.
    fn to_prometheus(&self, pool: &str) -> String {
        self.snapshot.to_prometheus(pool)
    }

    /// ``fallback_allocations / total_allocations``, or 0.0 without requests.
    #[getter]
    fn fallback_rate(&self) -> f64 {
        self.snapshot.fallback_rate()
    }

    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        match self.fields().get(name) {
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
}

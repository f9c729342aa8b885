//! The sections of a configuration. Each shows what its configuration has now, and passes changes on to it.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyString, PyType};
use serde_json::{Map, Value};

use super::PoolConfig;
use crate::interpreter::errors::Class;
use crate::interpreter::values::{from_python, to_dict, to_python};

/// A section of a configuration. Its keys are attributes, and setting one changes the configuration. A section
/// is also a mapping of its settings.
#[pyclass(frozen, mapping, module = "warmheap")]
pub(crate) struct Section {
    config: Py<PoolConfig>,
    name: String,
}

impl Section {
    pub(super) fn new(config: &Bound<'_, PoolConfig>, name: &str) -> Self {
        Self { config: config.clone().unbind(), name: name.to_owned() }
    }

    fn settings(&self, py: Python<'_>) -> Map<String, Value> {
        match self.config.bind(py).get().value(&self.name) {
            Some(Value::Object(settings)) => settings,
            _ => Map::new(),
        }
    }
}

#[pymethods]
impl Section {
    /// Returns the section's settings.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &self.settings(py))
    }

    fn __getattr__<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let key = name.to_string_lossy();
        match self.settings(name.py()).get(&*key) {
            Some(value) => to_python(name.py(), value),
            None => Err(PyAttributeError::new_err(format!("there is no setting {key:?} in {:?}", self.name))),
        }
    }

    fn __setattr__(&self, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let change = (format!("{}.{}", self.name, name.to_string_lossy()), from_python(value)?);
        self.config.bind(name.py()).get().set(Map::from_iter([change]))
    }

    fn __getitem__<'py>(&self, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.to_dict(name.py())?.as_any().get_item(name)
    }

    fn __contains__(&self, name: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.to_dict(name.py())?.contains(name)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.to_dict(py)?.keys().try_iter()
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.settings(py).len()
    }

    /// Returns the names of the settings.
    fn keys<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        Ok(self.to_dict(py)?.keys())
    }

    /// Returns the values.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        Ok(self.to_dict(py)?.values())
    }

    /// Returns a setting, or ``default`` if there is none of this name.
    #[pyo3(signature = (name, default = None))]
    fn get<'py>(
        &self,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.to_dict(name.py())?.get_item(name)?.or(default))
    }

    /// Returns the names and the values.
    fn items<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        Ok(self.to_dict(py)?.items())
    }

    fn __delattr__(&self, _name: &Bound<'_, PyString>) -> PyResult<()> {
        Err(Class::Config.error("a setting cannot be deleted; set it to what PoolConfig() has"))
    }

    /// Two sections with the same settings are equal, and so is a dict of them.
    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        match other.cast::<Self>() {
            Ok(other) => Ok(self.settings(py) == other.get().settings(py)),
            Err(_) => self.to_dict(py)?.eq(other),
        }
    }

    /// A copy is a dict, because a section belongs to its configuration.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyType>, (Bound<'py, PyDict>,))> {
        Ok((py.get_type::<PyDict>(), (self.to_dict(py)?,)))
    }

    fn __dir__(slf: &Bound<'_, Self>) -> PyResult<Vec<String>> {
        let class = slf.get_type().dir()?.extract::<Vec<String>>()?;
        Ok(class.into_iter().chain(slf.get().settings(slf.py()).into_iter().map(|(name, _)| name)).collect())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.to_dict(py)?.repr().map(|text| text.to_string())
    }
}

//! Settings as Python objects. Attributes have the names of the file's keys.
//!
//! Every value from Python, attributes and dictionaries included, is written as a file and read by the
//! library. So this module has no rules of its own, and a key that the library gains is an attribute.

use std::path::PathBuf;

use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use serde_json::{Map, Value};
use warmheap::PoolConfig as Settings;
use warmheap::config::{ConfigError, Place, Problem, keys};

use crate::interpreter::errors::IntoPython;
use crate::interpreter::values::{from_dict, from_python, to_dict, to_python};
use crate::interpreter::wait::wait;

/// A pool's settings. Each is an attribute with the name that it has in the configuration file; see
/// ``docs/configuration.md``. Names ending in ``_mb`` are MiB.
///
/// Parameters
/// ----------
/// **settings
///     Keys that differ from the defaults. A section is a dict: ``compaction={"threshold": 0.4}``.
///
/// Raises
/// ------
/// ConfigError
///     A key is unknown, or its value is not allowed. The error says what is allowed. Setting an attribute
///     raises it too, and then changes nothing.
///
/// Examples
/// --------
/// >>> import warmheap
/// >>> config = warmheap.PoolConfig(heap_size_mb=512, num_heaps=2)
/// >>> config.num_heaps = 3
/// >>> config.compaction.threshold
/// 0.5
/// >>> config == warmheap.PoolConfig.from_yaml("heap_size_mb: 512\nnum_heaps: 3")
/// True
#[pyclass(eq, module = "warmheap")]
#[derive(PartialEq)]
pub(crate) struct PoolConfig {
    settings: Settings,
}

impl From<Settings> for PoolConfig {
    fn from(settings: Settings) -> Self {
        Self { settings }
    }
}

impl PoolConfig {
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the settings for a new pool.
    pub(crate) fn for_pool(
        config: Option<&Bound<'_, PyAny>>,
        changes: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Settings> {
        let settings = match config {
            None if changes.is_none_or(|changes| changes.is_empty()) => return Ok(Settings::elastic()),
            None => Settings::default(),
            Some(config) => read(config)?,
        };
        changed(&settings, changes)
    }

    /// Returns the value of a key or of a section.
    fn value(&self, name: &str) -> Option<Value> {
        nested(&self.settings).remove(name)
    }

    fn set(&mut self, changes: Map<String, Value>) -> PyResult<()> {
        self.settings = with(&self.settings, changes)?;
        Ok(())
    }
}

/// Returns settings from a `PoolConfig`, a dict or a file's path.
fn read(config: &Bound<'_, PyAny>) -> PyResult<Settings> {
    if let Ok(config) = config.cast::<PoolConfig>() {
        Ok(config.borrow().settings.clone())
    } else if let Ok(dict) = config.cast::<PyDict>() {
        parse(from_dict(dict)?)
    } else if let Ok(path) = config.extract::<PathBuf>() {
        from_file(config.py(), path)
    } else {
        Err(PyTypeError::new_err("config must be a PoolConfig, a dict, or the path of a YAML file"))
    }
}

fn from_file(py: Python<'_>, path: PathBuf) -> PyResult<Settings> {
    wait(py, || Settings::from_yaml_file(path)).map_err(IntoPython::into_python)
}

fn changed(settings: &Settings, changes: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    match changes {
        Some(changes) => with(settings, from_dict(changes)?),
        None => Ok(settings.clone()),
    }
}

/// Returns `settings` with `changes` made.
fn with(settings: &Settings, changes: Map<String, Value>) -> PyResult<Settings> {
    let mut all = nested(settings);
    merge(&mut all, nest(changes));
    parse(all)
}

/// Returns every setting, with sections as objects.
fn nested(settings: &Settings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(flat)) => nest(flat),
        _ => Map::new(),
    }
}

/// Moves `compaction.enabled` to `enabled` in `compaction`.
fn nest(flat: Map<String, Value>) -> Map<String, Value> {
    let mut nested = Map::new();
    for (key, value) in flat {
        let entry = match key.split_once('.') {
            Some((section, name)) => {
                (section.to_owned(), Value::Object(Map::from_iter([(name.to_owned(), value)])))
            }
            None => (key, value),
        };
        merge(&mut nested, Map::from_iter([entry]));
    }
    nested
}

/// Whether there are keys under this name. A key's own value may be an object, too.
fn is_section(name: &str) -> bool {
    keys().iter().any(|key| key.name().split_once('.').is_some_and(|(section, _)| section == name))
}

/// Puts `changes` over `all`, and a section's settings over those of the section.
fn merge(all: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (key, change) in changes {
        match (all.get_mut(&key), change) {
            (Some(Value::Object(section)), Value::Object(changes)) if is_section(&key) => {
                merge(section, changes);
            }
            (_, change) => drop(all.insert(key, change)),
        }
    }
}

/// Reads settings as from a file, because JSON is YAML.
fn parse(settings: Map<String, Value>) -> PyResult<Settings> {
    if settings.is_empty() {
        return Ok(Settings::default());
    }
    Settings::from_yaml_str(&Value::Object(nest(settings)).to_string())
        .map_err(|error| placeless(error).into_python())
}

/// Removes line numbers, which no file has.
fn placeless(error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Invalid { file, problems } => {
            let problems =
                problems.into_iter().map(|Problem { fault, .. }| Problem { place: Place::Code, fault });
            ConfigError::Invalid { file, problems: problems.collect() }
        }
        other => other,
    }
}

#[pymethods]
impl PoolConfig {
    #[new]
    #[pyo3(signature = (**settings))]
    fn new(settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        changed(&Settings::default(), settings).map(Self::from)
    }

    /// Returns the settings of a pool that sizes its heaps itself, with ``settings`` changed.
    #[classmethod]
    #[pyo3(signature = (**settings))]
    fn elastic(_class: &Bound<'_, PyType>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        changed(&Settings::elastic(), settings).map(Self::from)
    }

    /// Reads settings from YAML text: a whole file, or one that starts at ``memory_pool`` or with the keys.
    #[classmethod]
    fn from_yaml(_class: &Bound<'_, PyType>, text: &str) -> PyResult<Self> {
        Settings::from_yaml_str(text).map(Self::from).map_err(IntoPython::into_python)
    }

    /// Reads settings from a file, as :meth:`from_yaml` does. Errors name the file and the line.
    #[classmethod]
    fn from_yaml_file(_class: &Bound<'_, PyType>, py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        from_file(py, path).map(Self::from)
    }

    /// Reads settings from the dict that a YAML reader returns, as :meth:`from_yaml` does.
    #[classmethod]
    fn from_dict(_class: &Bound<'_, PyType>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        parse(from_dict(settings)?).map(Self::from)
    }

    /// Returns every setting as YAML.
    fn to_yaml(&self) -> String {
        self.settings.to_yaml()
    }

    /// Returns every setting, with sections as dicts.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        to_dict(py, &nested(&self.settings))
    }

    /// Returns these settings with others changed. ``**{"compaction.enabled": True}`` reaches into a section.
    #[pyo3(signature = (**settings))]
    fn replace(&self, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        changed(&self.settings, settings).map(Self::from)
    }

    /// Returns these settings, overridden by the environment's variables ``WARMHEAP_<KEY>``.
    fn with_environment(&self) -> PyResult<Self> {
        self.settings.clone().with_environment().map(Self::from).map_err(IntoPython::into_python)
    }

    /// Returns a warning for each setting that works but is probably not meant.
    fn warnings(&self) -> Vec<String> {
        self.settings.warnings().iter().map(ToString::to_string).collect()
    }

    /// Returns every key, with a dot where it is in a section.
    #[staticmethod]
    fn keys() -> Vec<&'static str> {
        keys().iter().map(warmheap::config::Key::name).collect()
    }

    fn __getattr__<'py>(slf: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let value = slf.borrow().value(name);
        match value {
            Some(Value::Object(_)) if is_section(name) => {
                let section = Section { config: slf.clone().unbind(), name: name.to_owned() };
                Ok(Bound::new(slf.py(), section)?.into_any())
            }
            Some(value) => to_python(slf.py(), &value),
            None => Err(PyAttributeError::new_err(format!("there is no setting {name:?}"))),
        }
    }

    fn __setattr__(&mut self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.set(Map::from_iter([(name.to_owned(), from_python(value)?)]))
    }

    fn __dir__(slf: &Bound<'_, Self>) -> PyResult<Vec<String>> {
        let class = slf.get_type().dir()?.extract::<Vec<String>>()?;
        Ok(class
            .into_iter()
            .chain(nested(&slf.borrow().settings).into_iter().map(|(name, _)| name))
            .collect())
    }

    fn __copy__(&self) -> Self {
        self.settings.clone().into()
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        self.__copy__()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let settings = self.to_dict(py)?;
        let shown = settings.iter().map(|(key, value)| Ok(format!("{key}={}", value.repr()?)));
        Ok(format!("PoolConfig({})", shown.collect::<PyResult<Vec<_>>>()?.join(", ")))
    }
}

/// A section of a configuration. Its keys are attributes, and setting one changes the configuration.
#[pyclass(frozen, module = "warmheap")]
pub(crate) struct Section {
    config: Py<PoolConfig>,
    name: String,
}

impl Section {
    fn settings(&self, py: Python<'_>) -> Map<String, Value> {
        match self.config.bind(py).borrow().value(&self.name) {
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

    fn __getattr__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        match self.settings(py).get(name) {
            Some(value) => to_python(py, value),
            None => {
                Err(PyAttributeError::new_err(format!("there is no setting {name:?} in {:?}", self.name)))
            }
        }
    }

    fn __setattr__(&self, py: Python<'_>, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let change = (format!("{}.{name}", self.name), from_python(value)?);
        self.config.bind(py).borrow_mut().set(Map::from_iter([change]))
    }

    fn __dir__(slf: &Bound<'_, Self>) -> PyResult<Vec<String>> {
        let class = slf.get_type().dir()?.extract::<Vec<String>>()?;
        Ok(class.into_iter().chain(slf.get().settings(slf.py()).into_iter().map(|(name, _)| name)).collect())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        self.to_dict(py)?.repr().map(|text| text.to_string())
    }
}

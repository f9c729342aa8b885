//! Settings as Python objects. Attributes have the names of the file's keys.
//!
//! Every value from Python, attributes and dictionaries included, is written as a file and read by the
//! library. So this module has no rules of its own, and a key that the library gains is an attribute.

mod section;
mod values;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString, PyTuple, PyType};
use serde_json::{Map, Value};
use warmheap::PoolConfig as Settings;
use warmheap::config::keys;

pub(crate) use self::section::Section;
use self::values::{is_section, nested, over, parse, with};
use crate::interpreter::errors::{Class, IntoPython};
use crate::interpreter::values::{from_json, from_mapping, from_python, to_dict, to_python};
use crate::interpreter::wait::wait_apart;
use crate::interpreter::{arguments, html};

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
#[pyclass(frozen, eq, module = "warmheap")]
pub(crate) struct PoolConfig {
    /// The lock is held for moments. Meanwhile no Python code runs and nothing waits.
    settings: Mutex<Settings>,
    /// Whether these are the settings of an open pool, which cannot change.
    of_pool: bool,
}

impl PartialEq for PoolConfig {
    fn eq(&self, other: &Self) -> bool {
        // One lock after the other: both may be the same.
        self.settings() == other.settings()
    }
}

impl From<Settings> for PoolConfig {
    fn from(settings: Settings) -> Self {
        Self { settings: Mutex::new(settings), of_pool: false }
    }
}

/// Converts an argument.
pub(crate) fn argument<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PoolConfig>> {
    arguments::instance("config", "a PoolConfig", object)
}

impl PoolConfig {
    pub(crate) fn settings(&self) -> Settings {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the settings of an open pool, which refuse changes.
    pub(crate) fn of_pool(settings: Settings) -> Self {
        Self { settings: Mutex::new(settings), of_pool: true }
    }

    /// Returns the settings for a new pool: `changes` on top of `config`. What neither says is as in `base`.
    /// Keys of fixed heaps choose fixed heaps, in either.
    pub(crate) fn for_pool(
        base: Settings,
        config: Option<&Bound<'_, PyAny>>,
        changes: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Settings> {
        let changes = changes.map(from_mapping).transpose()?.unwrap_or_default();
        let settings = match config {
            None => base,
            Some(config) => {
                if let Ok(config) = config.cast::<PoolConfig>() {
                    config.get().settings()
                } else if let Ok(mapping) = config.cast::<PyMapping>() {
                    over(base, from_mapping(mapping)?)?
                } else if let Ok(path) = config.extract::<PathBuf>() {
                    let read = wait_apart(config.py(), move || base.with_yaml_file(path))?;
                    read.map_err(IntoPython::into_python)?
                } else {
                    let allowed = "a PoolConfig, a dict, or the path of a YAML file";
                    return Err(arguments::wrong("config", config, allowed));
                }
            }
        };
        over(settings, changes)
    }

    /// Returns the value of a key or of a section.
    fn value(&self, name: &str) -> Option<Value> {
        nested(&self.lock()).remove(name)
    }

    fn set(&self, changes: Map<String, Value>) -> PyResult<()> {
        if self.of_pool {
            return Err(Class::Config.error(
                "these are the settings of an open pool, which do not change; change a copy: \
                 pool.config.replace(num_heaps=2)",
            ));
        }
        let set = {
            let mut settings = self.lock();
            with(&settings, changes).map(|changed| *settings = changed)
        };
        // An exception runs Python code, so the lock is released before.
        set.map_err(IntoPython::into_python)
    }
}

fn changed(settings: &Settings, changes: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    match changes {
        Some(changes) => with(settings, from_mapping(changes)?).map_err(IntoPython::into_python),
        None => Ok(settings.clone()),
    }
}

#[pymethods]
impl PoolConfig {
    #[new]
    #[pyo3(signature = (**settings))]
    fn new(settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        changed(&Settings::default(), settings).map(Self::from)
    }

    /// Returns the settings of a pool that sizes its heaps itself, with ``settings`` changed. Keys of fixed
    /// heaps among them choose no fixed heaps, because this says how heaps are sized.
    #[classmethod]
    #[pyo3(signature = (**settings))]
    fn elastic(_class: &Bound<'_, PyType>, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        changed(&Settings::elastic(), settings).map(Self::from)
    }

    /// Reads settings from YAML text: a whole file, or one that starts at ``memory_pool`` or with the keys.
    #[classmethod]
    fn from_yaml(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = arguments::yaml)] text: String,
    ) -> PyResult<Self> {
        Settings::from_yaml_str(&text).map(Self::from).map_err(IntoPython::into_python)
    }

    /// Reads settings from a file, as :meth:`from_yaml` does. Errors name the file and the line.
    #[classmethod]
    fn from_yaml_file(
        _class: &Bound<'_, PyType>,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::path)] path: PathBuf,
    ) -> PyResult<Self> {
        let read = wait_apart(py, || Settings::from_yaml_file(path))?;
        read.map(Self::from).map_err(IntoPython::into_python)
    }

    /// Reads settings from the dict that a YAML reader returns, as :meth:`from_yaml` does. Other mappings do.
    #[classmethod]
    fn from_dict(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = arguments::mapping)] settings: Bound<'_, PyMapping>,
    ) -> PyResult<Self> {
        parse(from_mapping(&settings)?).map(Self::from).map_err(IntoPython::into_python)
    }

    /// Reads settings from what :meth:`to_json` returns.
    #[classmethod]
    fn from_json(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = arguments::json)] text: String,
    ) -> PyResult<Self> {
        let settings = from_json(&text).map_err(|error| Class::Config.error(error))?;
        parse(settings).map(Self::from).map_err(IntoPython::into_python)
    }

    /// Returns every setting as YAML.
    fn to_yaml(&self) -> String {
        self.lock().to_yaml()
    }

    /// Returns every setting as a JSON object, in the shape of :meth:`to_dict`.
    fn to_json(&self) -> String {
        Value::Object(nested(&self.lock())).to_string()
    }

    /// Returns every setting, with sections as dicts.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let settings = nested(&self.lock());
        to_dict(py, &settings)
    }

    /// Returns these settings with others changed. ``**{"compaction.enabled": True}`` reaches into a section.
    /// Keys of fixed heaps choose fixed heaps, unless ``heap_sizing`` is among them.
    #[pyo3(signature = (**settings))]
    fn replace(&self, settings: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let changes = settings.map(|settings| from_mapping(settings)).transpose()?.unwrap_or_default();
        over(self.settings(), changes).map(Self::from)
    }

    /// Returns these settings, overridden by the environment's variables ``WARMHEAP_<KEY>``.
    fn with_environment(&self) -> PyResult<Self> {
        self.settings().with_environment().map(Self::from).map_err(IntoPython::into_python)
    }

    /// Returns a warning for each setting that works but is probably not meant.
    fn warnings(&self) -> Vec<String> {
        self.lock().warnings().iter().map(ToString::to_string).collect()
    }

    /// Returns every key, with a dot where it is in a section.
    #[staticmethod]
    fn keys() -> Vec<&'static str> {
        keys().iter().map(warmheap::config::Key::name).collect()
    }

    fn __getattr__<'py>(slf: &Bound<'py, Self>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let (py, key) = (slf.py(), name.to_string_lossy());
        match slf.get().value(&key) {
            Some(Value::Object(_)) if is_section(&key) => {
                let section = Section::new(slf, &key);
                Ok(Bound::new(py, section)?.into_any())
            }
            Some(Value::Array(_)) => view(slf, name, "Sizes"),
            Some(Value::Object(_)) => view(slf, name, "Quotas"),
            Some(value) => to_python(py, &value),
            None => Err(PyAttributeError::new_err(format!("there is no setting {key:?}"))),
        }
    }

    /// Returns the value of a key as a plain list or dict, for the views of it.
    fn _plain<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.value(name).unwrap_or_default())
    }

    fn __setattr__(&self, name: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = from_python(value)?;
        self.set(Map::from_iter([(name.to_string_lossy().into_owned(), value)]))
    }

    fn __delattr__(&self, _name: &Bound<'_, PyString>) -> PyResult<()> {
        Err(Class::Config.error("a setting cannot be deleted; set it to what PoolConfig() has"))
    }

    fn __dir__(slf: &Bound<'_, Self>) -> PyResult<Vec<String>> {
        let class = slf.get_type().dir()?.extract::<Vec<String>>()?;
        let keys = nested(&slf.get().lock()).into_iter().map(|(name, _)| name);
        Ok(class.into_iter().chain(keys).collect())
    }

    fn __copy__(&self) -> Self {
        self.settings().into()
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> Self {
        self.__copy__()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        Ok((slf.get_type().getattr("from_json")?, (slf.get().to_json(),)))
    }

    fn _repr_html_(&self) -> String {
        let rows = nested(&self.lock()).into_iter().map(|(name, value)| (name, value.to_string()));
        html::table("PoolConfig", rows)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let settings = self.to_dict(py)?;
        let shown = settings.iter().map(|(key, value)| Ok(format!("{key}={}", value.repr()?)));
        Ok(format!("PoolConfig({})", shown.collect::<PyResult<Vec<_>>>()?.join(", ")))
    }
}

/// Returns a list or a dict that passes changes on to the configuration.
fn view<'py>(
    config: &Bound<'py, PoolConfig>,
    name: &Bound<'py, PyString>,
    class: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let class = config.py().import("warmheap._settings")?.getattr(class)?;
    class.call1(PyTuple::new(config.py(), [config.as_any(), name.as_any()])?)
}

//! The sections of a configuration file that stand beside the pool's, for `krserve_native` to check.

use std::path::PathBuf;

use pyo3::prelude::*;
use serde_json::{Value, json};
use warmheap::config::{Document, PassedOver};

use crate::config::PoolConfig;
use crate::interpreter::arguments;
use crate::interpreter::errors::IntoPython;
use crate::interpreter::values::to_python;
use crate::interpreter::wait::wait_apart;

/// Reads a file. Returns the pool's settings, whether ``metal_optimizations.enabled`` switches everything off,
/// and each other section: its name, its line and its settings, which are ``None`` for what is no section. A
/// setting is its key, its line and its text.
#[pyfunction]
#[pyo3(name = "_read_sections")]
pub(crate) fn read<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = arguments::path)] path: PathBuf,
) -> PyResult<(PoolConfig, bool, Bound<'py, PyAny>)> {
    let document = wait_apart(py, move || Document::from_file(path))?.map_err(IntoPython::into_python)?;
    let sections = document.passed_over.iter().map(section).collect();
    Ok((document.config.into(), document.switched_off, to_python(py, &sections)?))
}

fn section(PassedOver { key, line, settings, .. }: &PassedOver) -> Value {
    let settings = settings
        .as_deref()
        .map(|settings| settings.iter().map(|set| json!([set.key, set.line, set.value])).collect::<Vec<_>>());
    json!([key, line, settings])
}

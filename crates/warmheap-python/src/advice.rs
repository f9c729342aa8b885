//! The library's advice as plain dictionaries, from which `warmheap/_advice.py` makes classes.

use pyo3::prelude::*;
use serde::Serialize;
use warmheap::advice;

use crate::config::{self, PoolConfig};
use crate::contents::{MemoryPool, pool_argument};
use crate::interpreter::errors::Class;
use crate::interpreter::{arguments, values};
use crate::statistics::{self, Statistics};

/// Converts a value with a JSON form to Python objects.
pub(crate) fn to_python<'py>(py: Python<'py>, thing: &impl Serialize) -> PyResult<Bound<'py, PyAny>> {
    let value = serde_json::to_value(thing).map_err(|error| Class::Other.error(error))?;
    values::to_python(py, &value)
}

#[pyfunction]
#[pyo3(name = "_grades")]
pub(crate) fn grades<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = statistics::argument)] statistics: Bound<'py, Statistics>,
) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, &advice::Grades::of(&statistics.get().snapshot))
}

#[pyfunction]
#[pyo3(name = "_findings")]
pub(crate) fn findings<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = statistics::argument)] statistics: Bound<'py, Statistics>,
    #[pyo3(from_py_with = config::argument)] config: Bound<'py, PoolConfig>,
    #[pyo3(from_py_with = arguments::sizes)] sizes: Option<Vec<u64>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (statistics, config) = (&statistics.get().snapshot, config.get().settings());
    let found = match sizes {
        Some(sizes) => advice::findings_with_sizes(statistics, &config, &sizes.into_iter().collect()),
        None => advice::findings(statistics, &config),
    };
    to_python(py, &found)
}

#[pyfunction]
#[pyo3(name = "_advise")]
pub(crate) fn advise<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = pool_argument)] pool: Bound<'py, MemoryPool>,
) -> PyResult<Bound<'py, PyAny>> {
    let found = pool.get().wait(py, |pool| {
        advice::findings_with_sizes(&pool.statistics(), pool.config(), &pool.leaks().sizes())
    })?;
    to_python(py, &found)
}

#[pyfunction]
#[pyo3(name = "_recommend")]
pub(crate) fn recommend<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = arguments::model_mb)] model_mb: Option<u64>,
    #[pyo3(from_py_with = arguments::ram_gb)] ram_gb: Option<u64>,
    #[pyo3(from_py_with = config::argument)] base: Bound<'py, PoolConfig>,
) -> PyResult<(PoolConfig, Bound<'py, PyAny>, String)> {
    parts(py, advice::recommend(model_mb, ram_gb, &base.get().settings()))
}

#[pyfunction]
#[pyo3(name = "_recommend_for_run")]
pub(crate) fn recommend_for_run<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = statistics::argument)] statistics: Bound<'py, Statistics>,
    #[pyo3(from_py_with = config::argument)] base: Bound<'py, PoolConfig>,
) -> PyResult<(PoolConfig, Bound<'py, PyAny>, String)> {
    parts(py, advice::recommend_for_run(&statistics.get().snapshot, &base.get().settings()))
}

#[pyfunction]
#[pyo3(name = "_review")]
pub(crate) fn review<'py>(
    py: Python<'py>,
    #[pyo3(from_py_with = config::argument)] config: Bound<'py, PoolConfig>,
    #[pyo3(from_py_with = arguments::model_mb)] model_mb: Option<u64>,
    #[pyo3(from_py_with = arguments::ram_gb)] ram_gb: Option<u64>,
) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, &advice::review(&config.get().settings(), model_mb, ram_gb))
}

fn parts(
    py: Python<'_>,
    recommendation: advice::Recommendation,
) -> PyResult<(PoolConfig, Bound<'_, PyAny>, String)> {
    let findings = to_python(py, &recommendation.findings)?;
    Ok((recommendation.config.into(), findings, recommendation.explanation))
}

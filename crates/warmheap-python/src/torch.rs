//! The pools under PyTorch, which belong to the C interface. This module gives them their settings and reads
//! what they hold. Their functions are in this library, where PyTorch finds them by name.

use pyo3::prelude::*;
use pyo3::types::PyMapping;
use warmheap::PoolConfig as Settings;

use crate::config::PoolConfig;
use crate::interpreter::arguments;
use crate::interpreter::errors::Class;
use crate::interpreter::values::to_python;

/// Sets the configuration of the pools of every GPU that is used from now on, as `MemoryPool` takes it.
/// Autograd's threads free what the program's thread allocated, so threads share their heaps by default.
#[pyfunction]
#[pyo3(name = "_torch_configure")]
pub(crate) fn configure(
    config: Option<&Bound<'_, PyAny>>,
    #[pyo3(from_py_with = arguments::mapping)] settings: Bound<'_, PyMapping>,
) -> PyResult<()> {
    let base = Settings::elastic().with_thread_heaps(false);
    if warmheap_c::torch::configure(PoolConfig::for_pool(base, config, Some(&settings))?) {
        Ok(())
    } else {
        Err(Class::Other.error("Warmheap was installed under PyTorch before; once is enough"))
    }
}

/// Returns what the pools hold, by device and by stream.
#[pyfunction]
#[pyo3(name = "_torch_statistics")]
pub(crate) fn report(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let report = py.detach(warmheap_c::torch::report);
    to_python(py, &report)
}

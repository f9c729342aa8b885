//! The pools under PyTorch, which belong to the C interface. This module gives them their settings and reads
//! what they hold. Their functions are in this library, where PyTorch finds them by name.

use pyo3::prelude::*;

use crate::config::{self, PoolConfig};
use crate::interpreter::errors::Class;
use crate::interpreter::values::to_python;

/// Sets the configuration of the pools of every GPU that is used from now on.
#[pyfunction]
#[pyo3(name = "_torch_configure")]
pub(crate) fn configure(
    #[pyo3(from_py_with = config::argument)] config: Bound<'_, PoolConfig>,
) -> PyResult<()> {
    if warmheap_c::torch::configure(config.borrow().settings().clone()) {
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

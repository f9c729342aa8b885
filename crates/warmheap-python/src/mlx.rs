//! MLX's allocator, for `warmheap.mlx`.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::contents::{MemoryPool, pool_argument};
use crate::interpreter::errors::{Class, IntoPython};

/// Makes the MLX in this library file take its memory from the pool.
#[pyfunction]
#[pyo3(name = "_mlx_install")]
pub(crate) fn install(
    py: Python<'_>,
    #[pyo3(from_py_with = pool_argument)] pool: Bound<'_, MemoryPool>,
    library: PathBuf,
) -> PyResult<()> {
    let installed = pool.get().wait(py, |pool| warmheap_mlx::install(pool, &library))?;
    installed.map_err(|reason| Class::Other.error(reason))
}

/// Returns the bytes that MLX holds of the pool now, the most at one moment, and what the pool holds.
#[pyfunction]
#[pyo3(name = "_mlx_usage")]
pub(crate) fn usage() -> (usize, usize, usize) {
    let usage = warmheap_mlx::usage().unwrap_or_default();
    (usage.active, usage.peak, usage.reserved)
}

/// Lets the peak start again.
#[pyfunction]
#[pyo3(name = "_mlx_reset_peak")]
pub(crate) fn reset_peak() {
    warmheap_mlx::reset_peak();
}

/// Gives back what MLX does not use, but for `keep` bytes. MLX has no work in flight that it queued before.
#[pyfunction]
#[pyo3(name = "_mlx_give_back")]
pub(crate) fn give_back(py: Python<'_>, keep: usize) -> PyResult<()> {
    py.detach(|| warmheap_mlx::give_back(keep)).map_err(IntoPython::into_python)
}

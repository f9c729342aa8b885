//! The command `warmheap`, as the package has it.

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::interpreter::log;

/// Runs the command with the arguments after its name, and returns its exit code. Its output goes to the
/// process's own standard output and standard error.
#[pyfunction]
#[pyo3(name = "_command")]
pub(crate) fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    let arguments = std::iter::once("warmheap".into()).chain(arguments).collect();
    py.detach(|| warmheap_cli::number(warmheap_cli::run(arguments, log::pass_to)))
}

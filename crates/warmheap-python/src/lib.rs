//! Warmheap for Python: the extension module behind the package `warmheap`.
//!
//! This crate turns the library into objects that Python people expect. It owns what the border
//! needs: arguments in, exceptions out, the interpreter's lock given up around whatever can wait,
//! memory lent through the buffer protocol and DLPack. No decision about memory is made here, and
//! what can be said in Python is said there (`python/warmheap`).
//!
//! - `pool`, `open`, `buffer`, `queue`: the objects that programs hold
//! - `request`, `pressure`: what they say of a buffer, and hear when memory is short
//! - `config`, `statistics`, `advice`, `trace`: plain data and what is done with it
//! - `errors`, `log`, `fork`: what goes wrong, what is said, what a child process may not touch
//! - `values`: JSON to Python and back, which is how every struct of figures gets across
//! - `ffi`: the parts that speak to the interpreter in C, and the only unsafe code
#![deny(unsafe_code)]

mod advice;
mod buffer;
mod config;
mod errors;
mod ffi;
mod fork;
mod log;
mod open;
mod pool;
mod pressure;
mod queue;
mod request;
mod statistics;
#[cfg(target_os = "linux")]
mod torch;
mod trace;
mod values;

use pyo3::prelude::*;

/// The compiled part of the package `warmheap`; its names are those of the package.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    log::install();
    ffi::site::prepare(module.py());
    errors::prepare(module.py())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<config::PoolConfig>()?;
    module.add_class::<config::Section>()?;
    module.add_class::<pool::MemoryPool>()?;
    module.add_class::<pressure::Pressure>()?;
    module.add_class::<queue::Queue>()?;
    module.add_class::<queue::Ticket>()?;
    module.add_class::<statistics::Statistics>()?;
    module.add_class::<trace::Trace>()?;
    module.add("Buffer", ffi::exporter::class(module.py())?)?;
    for function in [
        wrap_pyfunction!(advice::findings, module)?,
        wrap_pyfunction!(advice::grades, module)?,
        wrap_pyfunction!(advice::recommend, module)?,
        wrap_pyfunction!(advice::recommend_for_run, module)?,
        wrap_pyfunction!(advice::review, module)?,
        wrap_pyfunction!(fork::forked, module)?,
        wrap_pyfunction!(log::deliver_logs, module)?,
        wrap_pyfunction!(log::stop_logs, module)?,
        wrap_pyfunction!(nothing, module)?,
    ] {
        module.add_function(function)?;
    }
    #[cfg(target_os = "linux")]
    for function in [wrap_pyfunction!(torch::configure, module)?, wrap_pyfunction!(torch::report, module)?] {
        module.add_function(function)?;
    }
    Ok(())
}

/// Does nothing: what a call costs by itself, for the benchmark.
#[pyfunction]
#[pyo3(name = "_nothing")]
fn nothing(size: u64) {
    let _ = size;
}

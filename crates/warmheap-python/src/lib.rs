//! Warmheap for Python: the extension module behind the package `warmheap`.
//!
//! This crate turns the library into objects that Python programmers expect. It owns what the boundary needs:
//! it converts arguments and exceptions, gives up the interpreter's lock around calls that can wait, and
//! lends memory through the buffer protocol and DLPack. It makes no decision about memory. What can be
//! written in Python is in `python/warmheap`.
//!
//! From below upwards:
//!
//! - `interpreter`: exceptions, the log, forks, JSON to Python and back, the interpreter's lock given up
//! - `config`, `sections`, `statistics`, `advice`: plain data, and functions on it
//! - `contents`: what the objects of pools and buffers hold, behind their locks
//! - `transfers`: copies on a thread of their own, and a bound on work in flight
//! - `lending`: the memory of buffers in the C forms of the interpreter and of array libraries, and copies of it
//! - `classes`: the methods of pools, buffers and queues
//! - `trace`, `torch`, `mlx`, `command`: functions that use pools
//!
//! The only unsafe code is in the files that speak C: `interpreter/{pending, site}`, `lending` and
//! `classes/stream`.
#![deny(unsafe_code)]

mod advice;
mod classes;
mod command;
mod config;
mod contents;
mod interpreter;
mod lending;
mod mlx;
mod sections;
mod statistics;
#[cfg(target_os = "linux")]
mod torch;
mod trace;
mod transfers;

use pyo3::prelude::*;
use pyo3::types::PyMapping;

use classes::{movable, pressure, queue, ring, transfers as copies};
use interpreter::{errors, log, site};

/// The compiled part of the package `warmheap`, which exports its names.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    log::install();
    site::prepare(module.py());
    errors::prepare(module.py())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<config::PoolConfig>()?;
    module.add_class::<config::Section>()?;
    PyMapping::register::<config::Section>(module.py())?;
    module.add_class::<contents::MemoryPool>()?;
    module.add_class::<movable::MovableBuffer>()?;
    module.add_class::<pressure::Pressure>()?;
    module.add_class::<queue::Queue>()?;
    module.add_class::<queue::Ticket>()?;
    module.add_class::<copies::Transfers>()?;
    module.add_class::<ring::RingObject>()?;
    module.add_class::<ring::Place>()?;
    module.add_class::<statistics::Statistics>()?;
    module.add_class::<trace::Trace>()?;
    module.add("Buffer", lending::exporter::class(module.py())?)?;
    for function in [
        wrap_pyfunction!(advice::advise, module)?,
        wrap_pyfunction!(advice::findings, module)?,
        wrap_pyfunction!(advice::grades, module)?,
        wrap_pyfunction!(advice::recommend, module)?,
        wrap_pyfunction!(advice::recommend_for_run, module)?,
        wrap_pyfunction!(advice::review, module)?,
        wrap_pyfunction!(command::command, module)?,
        wrap_pyfunction!(copies::end, module)?,
        wrap_pyfunction!(sections::read, module)?,
        wrap_pyfunction!(forked, module)?,
        wrap_pyfunction!(log::deliver_logs, module)?,
        wrap_pyfunction!(log::stop_logs, module)?,
        wrap_pyfunction!(mlx::install, module)?,
        wrap_pyfunction!(mlx::usage, module)?,
        wrap_pyfunction!(mlx::reset_peak, module)?,
        wrap_pyfunction!(mlx::give_back, module)?,
        wrap_pyfunction!(nothing, module)?,
        wrap_pyfunction!(statistics::all, module)?,
        wrap_pyfunction!(statistics::to_prometheus, module)?,
    ] {
        module.add_function(function)?;
    }
    #[cfg(target_os = "linux")]
    for function in [wrap_pyfunction!(torch::configure, module)?, wrap_pyfunction!(torch::report, module)?] {
        module.add_function(function)?;
    }
    Ok(())
}

/// `os.register_at_fork` calls this in a child right after a fork.
#[pyfunction]
#[pyo3(name = "_forked")]
fn forked() {
    log::start_anew();
}

/// Does nothing. The benchmark measures what a call costs by itself.
#[pyfunction]
#[pyo3(name = "_nothing")]
fn nothing(size: u64) {
    let _ = size;
}

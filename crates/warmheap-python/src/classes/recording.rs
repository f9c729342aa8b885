//! The recording of a pool: how it begins, and its end, which is also the first part of the pool's end.

use std::mem;
use std::path::PathBuf;

use pyo3::prelude::*;
use warmheap_trace::{Recorder, TraceWriter};

use crate::contents::MemoryPool;
use crate::interpreter::errors::IntoPython;
use crate::interpreter::wait::wait_apart;

/// Begins a recording and ends the one that runs.
pub(crate) fn begin(py: Python<'_>, pool: &MemoryPool, path: PathBuf) -> PyResult<()> {
    // A closed pool leaves the file as it is.
    pool.with(|_| ())?;
    let writer = wait_apart(py, move || TraceWriter::create(path))?.map_err(IntoPython::into_python)?;
    let mut writer = Some(writer);
    let earlier = pool.replace(|open| {
        let open = open.as_mut()?;
        let recorder = writer.take().map(|writer| Recorder::new(open.pool.clone(), writer));
        mem::replace(&mut open.recorder, recorder)
    })?;
    finish(py, earlier)?;
    // Another thread may have closed the pool meanwhile.
    match writer {
        Some(writer) => wait_apart(py, move || writer.finish())?.map_err(IntoPython::into_python),
        None => Ok(()),
    }
}

/// Ends the recording and returns its number of events.
pub(crate) fn end(py: Python<'_>, pool: &MemoryPool) -> PyResult<u64> {
    let recorder = pool.replace(|open| open.as_mut()?.recorder.take())?;
    finish(py, recorder)
}

/// Ends the recording and then the pool, if it is open.
pub(crate) fn end_and_close(py: Python<'_>, pool: &MemoryPool) -> PyResult<()> {
    let Some(mut open) = pool.replace(Option::take)? else { return Ok(()) };
    let ended = wait_apart(py, move || {
        let recorded = open.recorder.take().map_or(Ok(0), Recorder::finish);
        drop(open);
        recorded
    });
    ended?.map(drop).map_err(IntoPython::into_python)
}

fn finish(py: Python<'_>, recorder: Option<Recorder>) -> PyResult<u64> {
    let Some(recorder) = recorder else { return Ok(0) };
    wait_apart(py, move || recorder.finish())?.map_err(IntoPython::into_python)
}

//! Traces: read, written, made of events, replayed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyIndexError, PyOverflowError};
use pyo3::prelude::*;
use pyo3::types::slice::PySliceIndices;
use pyo3::types::{IntoPyDict, PyAny as Any, PyDict, PySlice, PySliceMethods, PyTuple, PyType};
use serde_json::{Map, Value, json};
use warmheap_trace::replay::Replay;
use warmheap_trace::{Action, Compile, Event, Program, TraceError, TraceReader, TraceWriter};

use crate::advice::to_python;
use crate::contents::{MemoryPool, pool_argument};
use crate::interpreter::errors::{Class, IntoPython};
use crate::interpreter::wait::{wait_apart, wait_until_stopped};
use crate::interpreter::{arguments, values};

/// What a program allocated and freed, in order, as a list of events.
///
/// An event is a tuple ``(thread, time, action, pointer, size, stream)``. The time is in seconds, and the
/// action is ``"allocate"``, ``"allocate failure"`` or ``"free"``. Traces of the same events are equal, if
/// their replays skip the same.
///
/// Parameters
/// ----------
/// events : iterable of tuple
///     The events.
/// lenient : bool, default False
///     Whether replays skip events that contradict others.
///
/// Raises
/// ------
/// TraceError
///     A file cannot be read, or an event cannot have happened. The error has the line.
///
/// Examples
/// --------
/// >>> import warmheap
/// >>> trace = warmheap.Trace.load("traces/qwen05b_short.csv.zst")
/// >>> trace.summary()["peak_live_buffers"]
/// 602
/// >>> pool = warmheap.MemoryPool(device="sim")
/// >>> trace.replay(pool, rounds=1)["failed"]
/// 0
#[pyclass(frozen, eq, sequence, module = "warmheap")]
pub(crate) struct Trace {
    events: Arc<Vec<Event>>,
    lenient: bool,
    program: Arc<Program>,
}

impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        self.events == other.events && self.program.summary() == other.program.summary()
    }
}

/// The rows that are read between two looks for signals, and for other threads.
const ROWS: usize = 4096;

type Row = (u64, f64, String, u64, u64, u64);

impl Trace {
    fn new(events: Vec<Event>, name: &str, lenient: bool) -> Result<Self, TraceError> {
        let program = Program::from_events(name, &events, Compile { lenient, ..Compile::default() })?;
        Ok(Self { events: Arc::new(events), lenient, program: Arc::new(program) })
    }
}

fn row(event: &Event) -> Row {
    let Event { thread, time, action, pointer, size, stream } = *event;
    (thread, time.as_secs_f64(), action.as_str().to_owned(), pointer, size, stream)
}

/// Returns the parts of an event from Python.
fn fields(row: &Bound<'_, Any>) -> PyResult<Row> {
    let tuple = row.cast::<PyTuple>().map_err(|_| arguments::wrong("an event", row, "a tuple"))?;
    tuple.as_any().extract().map_err(|error: PyErr| {
        Class::Trace.error(format_args!(
            "an event is (thread, time, action, pointer, size, stream), with whole numbers from 0 and seconds; \
             one has {error}"
        ))
    })
}

fn event((thread, time, action, pointer, size, stream): Row) -> PyResult<Event> {
    let known = [Action::Allocate, Action::AllocateFailure, Action::Free];
    let action = known.into_iter().find(|known| known.as_str() == action).ok_or_else(|| {
        let text = format!("action is {action:?}; it must be \"allocate\", \"allocate failure\" or \"free\"");
        Class::Trace.error(text)
    })?;
    let time = Duration::try_from_secs_f64(time)
        .map_err(|error| Class::Trace.error(format!("time is {time}: {error}")))?;
    Ok(Event { thread, time, action, pointer, size, stream })
}

#[pymethods]
impl Trace {
    #[new]
    #[pyo3(signature = (events, *, lenient = false))]
    fn from_rows(
        events: &Bound<'_, Any>,
        #[pyo3(from_py_with = arguments::lenient)] lenient: bool,
    ) -> PyResult<Self> {
        let py = events.py();
        let rows = events.try_iter().map_err(|_| arguments::wrong("events", events, "an iterable of tuples"));
        let mut events = Vec::new();
        for row in rows? {
            if events.len() % ROWS == 0 {
                // Millions of rows take seconds.
                py.check_signals()?;
                py.detach(|| ());
            }
            events.push(event(fields(&row?)?)?);
        }
        wait_apart(py, move || Self::new(events, "events", lenient))?.map_err(IntoPython::into_python)
    }

    /// Reads a trace: ``.csv``, ``.csv.gz`` or ``.csv.zst``. The content decides, not the name.
    #[classmethod]
    #[pyo3(signature = (path, *, lenient = false))]
    fn load(
        _class: &Bound<'_, PyType>,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::path)] path: PathBuf,
        #[pyo3(from_py_with = arguments::lenient)] lenient: bool,
    ) -> PyResult<Self> {
        let load = move || {
            let events = TraceReader::open(&path)?.collect::<Result<_, _>>()?;
            Self::new(events, &path.display().to_string(), lenient)
        };
        wait_apart(py, load)?.map_err(IntoPython::into_python)
    }

    /// Writes the trace. The end of the name decides the compression.
    fn save(&self, py: Python<'_>, #[pyo3(from_py_with = arguments::path)] path: PathBuf) -> PyResult<()> {
        let events = Arc::clone(&self.events);
        let save = move || {
            let mut writer = TraceWriter::create(path)?;
            events.iter().try_for_each(|event| writer.write(event))?;
            writer.finish()
        };
        wait_apart(py, save)?.map_err(IntoPython::into_python)
    }

    /// Returns a summary of the trace as a flat dict. Times are in seconds.
    ///
    /// ``events`` are the allocations and frees that a replay plays. ``recorded_failures`` had failed when the
    /// trace was recorded. ``skipped`` contradict others. ``other_sizes`` are frees that name another size than
    /// their allocation, whose size counts.
    fn summary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let summary = self.program.summary();
        let figures = [
            ("events", json!(summary.events)),
            ("allocations", json!(summary.allocations)),
            ("recorded_failures", json!(summary.recorded_failures)),
            ("skipped", json!(summary.skipped)),
            ("other_sizes", json!(summary.other_sizes)),
            ("peak_live_bytes", json!(summary.peak_live_bytes)),
            ("peak_live_buffers", json!(summary.peak_live_buffers)),
            ("end_live_bytes", json!(summary.end_live_bytes)),
            ("largest_bytes", json!(summary.largest_bytes)),
            ("duration", json!(summary.duration.as_secs_f64())),
        ];
        let figures: Map<String, Value> =
            figures.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect();
        values::to_dict(py, &figures)
    }

    /// Plays the trace on a pool and measures. Other threads run meanwhile.
    ///
    /// Parameters
    /// ----------
    /// pool : MemoryPool
    ///     The pool. It should be fresh, so that the figures of memory are those of the trace.
    /// threads : int, default 1
    ///     Threads that each play the whole trace.
    /// rounds : int, default 5
    ///     Timed rounds, after the first round, which counts.
    /// verify : bool, default False
    ///     Whether to check that live buffers never overlap and keep their contents.
    ///
    /// Returns
    /// -------
    /// dict
    ///     The figures of ``warmheap replay --json``, without those that name the trace, the device and the
    ///     settings. ``docs/json.md`` describes each. Memory is in bytes, and ``ns`` means nanoseconds.
    ///
    /// Raises
    /// ------
    /// WarmheapError
    ///     The pool broke a promise, which ``verify`` looks for. Requests that the pool refuses are counted
    ///     as ``failed`` and ``failed_later``.
    #[pyo3(signature = (pool, *, threads = 1, rounds = 5, verify = false))]
    fn replay<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = pool_argument)] pool: Bound<'py, MemoryPool>,
        #[pyo3(from_py_with = arguments::threads)] threads: usize,
        #[pyo3(from_py_with = arguments::rounds)] rounds: usize,
        #[pyo3(from_py_with = arguments::verify)] verify: bool,
    ) -> PyResult<Bound<'py, Any>> {
        let replay = Replay { threads, rounds, verify, ..Replay::default() };
        let (pool, program) = (pool.get().with(|open| open.pool.clone())?, Arc::clone(&self.program));
        let report = wait_until_stopped(py, move |stopped| replay.run_until(stopped, &program, &pool, || {}));
        to_python(py, &report?.map_err(IntoPython::into_python)?)
    }

    fn __len__(&self) -> usize {
        self.events.len()
    }

    /// Returns an event, or the list of those that a slice names.
    fn __getitem__<'py>(&self, index: &Bound<'py, Any>) -> PyResult<Bound<'py, Any>> {
        let (py, len) = (index.py(), self.events.len() as isize);
        if let Ok(slice) = index.cast::<PySlice>() {
            let PySliceIndices { start, step, slicelength, .. } = slice.indices(len)?;
            let places = (0..slicelength as isize).map(|turn| start + turn * step);
            let events = places.filter_map(|place| self.events.get(usize::try_from(place).ok()?));
            return events.map(row).collect::<Vec<_>>().into_bound_py_any(py);
        }
        let none = || PyIndexError::new_err(format!("there is no event {index}"));
        let place = match index.extract::<isize>() {
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => return Err(none()),
            Err(error) => return Err(error),
            Ok(place) if place < 0 => place + len,
            Ok(place) => place,
        };
        let event = usize::try_from(place).ok().and_then(|place| self.events.get(place));
        event.map(row).ok_or_else(none)?.into_bound_py_any(py)
    }

    /// What a copy and a pickle make the trace from.
    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<((Vec<Row>,), Bound<'py, PyDict>)> {
        let lenient = [("lenient", self.lenient)].into_py_dict(py)?;
        Ok(((self.events.iter().map(row).collect(),), lenient))
    }

    fn __repr__(&self) -> String {
        format!("<warmheap.Trace of {} events>", self.events.len())
    }
}

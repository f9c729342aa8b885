//! The methods of pools.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyAny as Any, PyDict, PyTuple};
use warmheap::device::{Spec, SpecError};
use warmheap::{CompactionBudget, Pool, PoolConfig as Settings};

use super::compaction::compact;
use super::movable::MovableBuffer;
use super::pressure;
use super::queue::Queue;
use super::recording;
use super::request::request;
use crate::config::PoolConfig;
use crate::contents::{Held, MemoryPool, leaks, warm};
use crate::interpreter::errors::{Class, IntoPython};
use crate::interpreter::values::to_python;
use crate::interpreter::wait::{self, look_for_signals, wait_apart, wait_until_stopped};
use crate::interpreter::{arguments, html, site};
use crate::lending::exporter;
use crate::statistics::Statistics;

#[pymethods]
impl MemoryPool {
    #[new]
    #[pyo3(signature = (config = None, *, device = "host".to_owned(), environment = true, **settings),
           text_signature = "(config=None, *, device='host', environment=True, **settings)")]
    fn new(
        py: Python<'_>,
        config: Option<&Bound<'_, Any>>,
        #[pyo3(from_py_with = arguments::device)] device: String,
        #[pyo3(from_py_with = arguments::environment)] environment: bool,
        settings: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let spec: Spec = device
            .parse()
            .map_err(|reason: SpecError| Class::Device.error(format!("{device:?}: {reason}")))?;
        let unnamed = config.is_none() && settings.is_none_or(|settings| settings.is_empty());
        let mut config = if unnamed && environment {
            let read = wait_apart(py, || Settings::elastic().with_environment_file())?;
            read.map_err(IntoPython::into_python)?
        } else {
            PoolConfig::for_pool(Settings::elastic(), config, settings.map(|settings| settings.as_any()))?
        };
        if environment {
            config = config.with_environment().map_err(IntoPython::into_python)?;
        }
        let to_open = spec.clone();
        // Errors become exceptions here. The other thread may go on alone, and knows no Python.
        let made = wait_apart(py, move || to_open.open().map(|device| Pool::new(device, config)))?;
        let pool = made.map_err(IntoPython::into_python)?.map_err(IntoPython::into_python)?;
        Ok(Self::of(py, pool, spec))
    }

    /// Allocates a buffer of ``size`` bytes.
    ///
    /// Parameters
    /// ----------
    /// size : int
    ///     Bytes, at least 1.
    /// align : int, optional
    ///     A power of two in bytes, which divides the address.
    /// zeroed : bool, default False
    ///     Whether the memory reads as zero.
    /// tag : str, optional
    ///     The purpose, which leak reports show. Use tens of names, not millions.
    /// fallback : bool, default True
    ///     Whether the device may serve the request if no heap has room.
    /// growable : int, optional
    ///     The bytes that the buffer may grow to in place; see :meth:`Buffer.grow`.
    /// wait : float, optional
    ///     Seconds to wait for memory in flight if nothing else can serve the request. The default is
    ///     the setting ``wait_ms``.
    ///
    /// Raises
    /// ------
    /// OutOfMemoryError
    ///     Neither the heaps nor the device have the memory. The exception has the figures.
    /// RequestError
    ///     The size is 0, or the alignment is not a power of two.
    ///
    /// Examples
    /// --------
    /// >>> import warmheap
    /// >>> pool = warmheap.MemoryPool()
    /// >>> buffer = pool.allocate(4096, align=4096, zeroed=True)
    /// >>> bytes(memoryview(buffer)[:4])
    /// b'\x00\x00\x00\x00'
    #[pyo3(signature = (size, *, align = 0, zeroed = false, tag = None, fallback = true, growable = 0, wait = None))]
    #[allow(clippy::too_many_arguments)]
    fn allocate(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = arguments::size)] size: u64,
        #[pyo3(from_py_with = arguments::align)] align: u64,
        #[pyo3(from_py_with = arguments::zeroed)] zeroed: bool,
        #[pyo3(from_py_with = arguments::tag)] tag: Option<String>,
        #[pyo3(from_py_with = arguments::fallback)] fallback: bool,
        #[pyo3(from_py_with = arguments::growable)] growable: u64,
        #[pyo3(from_py_with = arguments::patience)] wait: Option<Duration>,
    ) -> PyResult<Py<Any>> {
        let (py, this) = (slf.py(), slf.get());
        let request = request(size, align, zeroed, tag, growable, wait).call_site(site::caller(py));
        let request = if fallback { request } else { request.no_fallback() };
        let at_once = this.with(|open| match open.recorder {
            None => open.pool.allocate(request.non_blocking()).ok().map(Held::Plain),
            Some(_) => None,
        })?;
        let held = match at_once {
            Some(held) => held,
            None => {
                let open = this.with(Clone::clone)?;
                wait::wait(py, move || open.allocate(request))?.map_err(IntoPython::into_python)?
            }
        };
        exporter::object(slf, held)
    }

    /// Makes the heaps hold memory for buffers of these sizes, all alive at once.
    ///
    /// Fixed heaps are warmed when the pool opens, so without ``sizes_mb`` there is nothing left to do for
    /// them. Call this for a pool that sizes itself, and after :meth:`trim`. The buffers are allocated,
    /// zeroed and freed, and count in the statistics.
    ///
    /// Parameters
    /// ----------
    /// sizes_mb : sequence of float, optional
    ///     MiB. The default is ``warmup_sizes`` of a pool that sizes itself.
    #[pyo3(signature = (sizes_mb = None))]
    fn warmup(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = arguments::sizes_mb)] sizes_mb: Option<Vec<u64>>,
    ) -> PyResult<()> {
        let site = site::caller(py);
        let warmed = self.wait(py, move |pool| warm(pool, sizes_mb, site, look_for_signals))?;
        warmed.map_err(IntoPython::into_python)
    }

    /// Allocates a buffer that :meth:`compact` may move. :meth:`MovableBuffer.pin` gives its memory. See
    /// :meth:`allocate` for the arguments.
    #[pyo3(signature = (size, *, align = 0, zeroed = false, tag = None, fallback = true, wait = None))]
    #[allow(clippy::too_many_arguments)]
    fn allocate_movable(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = arguments::size)] size: u64,
        #[pyo3(from_py_with = arguments::align)] align: u64,
        #[pyo3(from_py_with = arguments::zeroed)] zeroed: bool,
        #[pyo3(from_py_with = arguments::tag)] tag: Option<String>,
        #[pyo3(from_py_with = arguments::fallback)] fallback: bool,
        #[pyo3(from_py_with = arguments::patience)] wait: Option<Duration>,
    ) -> PyResult<MovableBuffer> {
        let (py, this) = (slf.py(), slf.get());
        let request = request(size, align, zeroed, tag, 0, wait).call_site(site::caller(py));
        let request = if fallback { request } else { request.no_fallback() };
        let open = this.with(Clone::clone)?;
        let held =
            wait::wait(py, move || open.allocate_movable(request))?.map_err(IntoPython::into_python)?;
        Ok(MovableBuffer::new(slf, held))
    }

    /// Moves movable buffers together, so that free memory joins. Buffers that are pinned, or that work in
    /// flight uses, stay. Other threads go on meanwhile.
    ///
    /// Parameters
    /// ----------
    /// max_mb : float, optional
    ///     The most MiB to copy. The buffer that reaches it is still moved whole.
    /// max_seconds : float, optional
    ///     The most time to take.
    ///
    /// Returns
    /// -------
    /// dict
    ///     ``moved_buffers``, ``moved_bytes``, ``recovered_bytes`` (which :meth:`trim` can now give back),
    ///     ``busy_buffers`` (which stayed), and ``finished``: whether every buffer was looked at.
    #[pyo3(signature = (*, max_mb = None, max_seconds = None))]
    fn compact<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = arguments::max_mb)] max_mb: Option<u64>,
        #[pyo3(from_py_with = arguments::max_seconds)] max_seconds: Option<Duration>,
    ) -> PyResult<Bound<'py, Any>> {
        let budget = CompactionBudget {
            bytes: max_mb.unwrap_or(u64::MAX),
            time: max_seconds.unwrap_or(Duration::MAX),
        };
        let pool = self.with(|open| open.pool.clone())?;
        let report = wait_until_stopped(py, move |stopped| compact(&pool, budget, stopped));
        to_python(py, &report?.map_err(IntoPython::into_python)?)
    }

    /// Returns a snapshot of the figures.
    fn get_statistics(&self, py: Python<'_>) -> PyResult<Statistics> {
        self.wait(py, Pool::statistics).map(Statistics::new)
    }

    /// Sets the counters to 0. Gauges keep their values.
    fn reset_statistics(&self, py: Python<'_>) -> PyResult<()> {
        self.wait(py, Pool::reset_statistics)
    }

    /// Sets the most requested bytes that may be alive under ``tag``. ``None`` removes the quota. The setting
    /// ``quotas`` has the same in MiB.
    #[pyo3(signature = (tag, quota))]
    fn set_quota(
        &self,
        #[pyo3(from_py_with = arguments::named_tag)] tag: String,
        #[pyo3(from_py_with = arguments::quota)] quota: Option<u64>,
    ) -> PyResult<()> {
        self.with(|open| open.pool.set_quota(tag.as_str(), quota))
    }

    /// Returns the quota of ``tag`` and its use, in bytes, or ``None`` without a quota.
    fn quota(
        &self,
        #[pyo3(from_py_with = arguments::named_tag)] tag: String,
    ) -> PyResult<Option<(u64, u64)>> {
        self.with(|open| open.pool.quota(tag.as_str()))
    }

    /// Registers ``callback(pool, pressure)`` for moments when memory is short; ``pressure`` is a
    /// :class:`Pressure`. The callback may free, allocate, trim and close the pool. It runs on the thread
    /// whose request met the pressure, and stays until the pool is closed. What it raises goes to
    /// :func:`sys.unraisablehook`, and the request goes on.
    fn on_pressure(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = arguments::callback)] callback: Py<Any>,
    ) -> PyResult<()> {
        pressure::add(slf, callback)
    }

    /// Gives free memory back to the device until the pool holds at most ``target`` bytes. Returns the bytes
    /// that went back.
    ///
    /// A pool of fixed heaps keeps the heaps that it opened with.
    #[pyo3(signature = (target = 0))]
    fn trim(&self, py: Python<'_>, #[pyo3(from_py_with = arguments::target)] target: u64) -> PyResult<u64> {
        self.wait_apart(py, move |pool| pool.trim(target))?.map_err(IntoPython::into_python)
    }

    /// Lets the system take the pages of heaps without buffers, and returns their bytes.
    fn make_purgeable(&self, py: Python<'_>) -> PyResult<u64> {
        self.wait_apart(py, Pool::make_purgeable)?.map_err(IntoPython::into_python)
    }

    /// Makes a queue of the device's work, for :meth:`Buffer.retire`.
    ///
    /// Parameters
    /// ----------
    /// stream : int, optional
    ///     On CUDA, a stream's handle, such as ``torch.cuda.current_stream().cuda_stream``. The stream must
    ///     exist as long as the queue. Without a stream, the program itself moves the queue.
    #[pyo3(signature = (stream = None))]
    fn queue(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = arguments::stream)] stream: Option<usize>,
    ) -> PyResult<Queue> {
        Queue::new(slf, stream)
    }

    /// Returns the live buffers, each as a dict of ``size`` in bytes, ``tag`` and ``site``: its purpose, and
    /// the line that allocated it.
    fn leaks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Any>> {
        to_python(py, &self.wait(py, leaks)?)
    }

    /// Returns :meth:`leaks` as the text that :meth:`close` logs: a line for each site, the most bytes first.
    fn leak_report(&self, py: Python<'_>) -> PyResult<String> {
        self.wait(py, |pool| pool.leaks().to_string())
    }

    /// Writes the requests of the pool to a trace from now on, until :meth:`stop_recording`.
    ///
    /// The end of the name decides the compression: ``.csv``, ``.csv.gz``, ``.csv.zst``.
    ///
    /// Recording changes nothing that a buffer can do. ``docs/traces.md`` says what queues, retired buffers
    /// and growth look like in the file. A recording that runs ends, and the new one begins.
    ///
    /// Raises
    /// ------
    /// TraceError
    ///     The file cannot be written, or another recording writes it; a recording that runs goes on. Or the file
    ///     of the recording that ends could not be finished; the new recording runs.
    fn record(&self, py: Python<'_>, #[pyo3(from_py_with = arguments::path)] path: PathBuf) -> PyResult<()> {
        recording::begin(py, self, path)
    }

    /// Ends the trace and returns its number of events.
    fn stop_recording(&self, py: Python<'_>) -> PyResult<u64> {
        recording::end(py, self)
    }

    /// Closes the pool. Live buffers are logged with the lines that allocated them, and stay valid. The
    /// memory goes back to the device with the last of them. Callbacks and a recording end. Closing twice does
    /// nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = recording::end_and_close(py, self);
        self.callbacks().end();
        closed
    }

    /// Whether the pool is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.is_closed()
    }

    /// A number from 1 that no other pool of the process has, in the order in which they were opened.
    #[getter]
    fn number(&self) -> u64 {
        self.number_of_pool()
    }

    /// The device's name, as it was given.
    #[getter]
    fn device(&self) -> &str {
        self.device_name()
    }

    /// The device's description: ``"cuda:0 NVIDIA H100 80GB HBM3"``.
    #[getter]
    fn device_description(&self) -> PyResult<String> {
        self.with(|open| open.pool.device().name().to_owned())
    }

    /// The settings of the pool, which do not change. ``config.replace(...)`` and copies can be changed.
    #[getter]
    fn config(&self) -> PyResult<PoolConfig> {
        self.with(|open| PoolConfig::of_pool(open.pool.config().clone()))
    }

    /// The bytes held from the device: heaps and fallback buffers.
    #[getter]
    fn reserved_bytes(&self) -> PyResult<u64> {
        self.with(|open| open.pool.reserved_bytes())
    }

    /// The most bytes held from the device at once since the last reset of statistics.
    #[getter]
    fn peak_reserved_bytes(&self) -> PyResult<u64> {
        self.with(|open| open.pool.peak_reserved_bytes())
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        slf.bind(py).get().with(|_| ())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.callbacks().traverse(&visit)
    }

    fn __clear__(&self) {
        self.callbacks().end();
    }

    fn _repr_html_(&self, py: Python<'_>) -> PyResult<String> {
        let title = self.__repr__();
        if self.is_closed() || !self.origin().is_here() {
            return Ok(html::table(&title, []));
        }
        Ok(html::table(&title, self.get_statistics(py)?.rows()))
    }

    fn __repr__(&self) -> String {
        match self.with(|open| open.pool.reserved_bytes()) {
            Ok(bytes) => format!("<warmheap.MemoryPool on {}, {bytes} bytes reserved>", self.device_name()),
            Err(_) => format!("<warmheap.MemoryPool on {}, closed>", self.device_name()),
        }
    }
}

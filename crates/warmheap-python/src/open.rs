//! What a pool object holds while it is open, and how it is used without the interpreter's lock.
//!
//! Whatever may wait for a device, for a lock that is held across a device's call, for a queue, a
//! thread or a file goes through [`wait`] or [`let_go`]. That includes the end of any handle of a pool:
//! it may be the last, which closes the pool. Locks that are held for moments are taken as they are.

use pyo3::prelude::*;
use serde_json::{Value, json};
use warmheap::config::{HeapSizing, MIB};
use warmheap::{AllocError, Leak, Pool, Request, Site};
use warmheap_trace::Recorder;

use crate::buffer::Held;
use crate::log;

/// An open pool, and who writes down what is asked of it.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) pool: Pool,
    pub(crate) recorder: Option<Recorder>,
}

impl Open {
    pub(crate) fn allocate(&self, request: Request, site: Site, fallback: bool) -> Result<Held, AllocError> {
        match &self.recorder {
            Some(recorder) if fallback => recorder.allocate_at(request, site).map(Held::Recorded),
            Some(recorder) => recorder.try_allocate_at(request, site).map(Held::Recorded),
            None if fallback => self.pool.allocate_at(request, site).map(Held::Plain),
            None => self.pool.try_allocate_at(request, site).map(Held::Plain),
        }
    }
}

/// Has the heaps hold memory for buffers of these sizes, or those of the settings, at once.
pub(crate) fn warm(pool: &Pool, sizes_mb: Option<Vec<f64>>, site: Site) -> Result<(), AllocError> {
    let bytes = |mib: f64| (mib * MIB as f64) as u64;
    let sizes: Vec<u64> = match sizes_mb {
        Some(sizes) => sizes.into_iter().map(bytes).collect(),
        None if pool.config().heaps == HeapSizing::Fixed => Vec::new(),
        None => pool.config().warmup_sizes.clone(),
    };
    let held = sizes.into_iter().map(|size| pool.try_allocate_at(Request::new(size).zeroed(), site));
    held.collect::<Result<Vec<_>, _>>().map(drop)
}

/// The buffers that are alive, as a list of objects.
pub(crate) fn leaks(pool: &Pool) -> Value {
    let entry = |leak: &Leak| {
        let tag = Some(leak.tag.name()).filter(|tag| !tag.is_empty());
        json!({"size": leak.size, "tag": tag, "site": leak.site.as_ref().map(Site::to_string)})
    };
    pool.leaks().leaks.iter().map(entry).collect()
}

/// Does what may wait while other threads run, and hands the log over.
pub(crate) fn wait<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    let done = py.detach(work);
    log::deliver(py);
    done
}

/// Drops what may wait while other threads run. For objects that end: an exception may be on its way,
/// so no Python code runs, and what the library logs is handed over later.
pub(crate) fn let_go<T: Send>(thing: T) {
    let mut thing = Some(thing);
    // At the interpreter's end there is no lock to give up.
    Python::try_attach(|py| py.detach(|| drop(thing.take())));
}

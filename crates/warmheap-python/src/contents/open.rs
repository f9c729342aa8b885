//! What objects hold of the library: an open pool, and a buffer of it.

use serde_json::{Value, json};
use warmheap::config::{HeapSizing, MIB};
use warmheap::{AllocError, Buffer, CallSite, Leak, Pool, Request, Ticket};
use warmheap_trace::{Recorded, Recorder};

/// The buffer of an object. The free of some is recorded.
#[derive(Debug)]
pub(crate) enum Held {
    Plain(Buffer),
    Recorded(Recorded),
}

impl Held {
    pub(crate) fn buffer(&self) -> &Buffer {
        match self {
            Self::Plain(buffer) => buffer,
            Self::Recorded(buffer) => buffer,
        }
    }

    pub(crate) fn retire(self, ticket: &Ticket) {
        match self {
            Self::Plain(buffer) => buffer.retire(ticket),
            Self::Recorded(buffer) => buffer.retire(ticket),
        }
    }

    /// Frees the buffer if that calls neither the device nor the system. Otherwise returns it.
    pub(crate) fn free_at_once(self) -> Option<Self> {
        match self {
            Self::Plain(buffer) => buffer.free_at_once().err().map(Self::Plain),
            // The recorder writes the free to a file.
            Self::Recorded(_) => Some(self),
        }
    }
}

/// An open pool, with the recorder of its requests, if there is one.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) pool: Pool,
    pub(crate) recorder: Option<Recorder>,
}

impl Open {
    pub(crate) fn allocate(&self, request: Request) -> Result<Held, AllocError> {
        match &self.recorder {
            Some(recorder) => recorder.allocate(request).map(Held::Recorded),
            None => self.pool.allocate(request).map(Held::Plain),
        }
    }
}

/// Makes the heaps hold memory for buffers of these sizes, or those of the settings, all alive at once.
pub(crate) fn warm(pool: &Pool, sizes_mb: Option<Vec<f64>>, site: CallSite) -> Result<(), AllocError> {
    let bytes = |mib: f64| (mib * MIB as f64) as u64;
    let sizes: Vec<u64> = match sizes_mb {
        Some(sizes) => sizes.into_iter().map(bytes).collect(),
        None if pool.config().heaps == HeapSizing::Fixed => Vec::new(),
        None => pool.config().warmup_sizes.clone(),
    };
    let request = |size| Request::new(size).zeroed().no_fallback().call_site(site);
    let held = sizes.into_iter().map(|size| pool.allocate(request(size)));
    held.collect::<Result<Vec<_>, _>>().map(drop)
}

/// Returns the live buffers as a list of objects.
pub(crate) fn leaks(pool: &Pool) -> Value {
    let entry = |leak: &Leak| {
        let tag = Some(leak.tag.name()).filter(|tag| !tag.is_empty());
        json!({"size": leak.size, "tag": tag, "site": leak.site.as_ref().map(CallSite::to_string)})
    };
    pool.leaks().leaks.iter().map(entry).collect()
}

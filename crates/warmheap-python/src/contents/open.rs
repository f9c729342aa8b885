//! What objects hold of the library: an open pool, and a buffer of it.

use serde_json::{Value, json};
use warmheap::config::HeapSizing;
use warmheap::{AllocError, Buffer, CallSite, Leak, Pool, PoolQueue, Request, Ticket};
use warmheap_trace::{Recorded, Recorder};

use super::movable::{HeldMovable, Pin};

/// The buffer of an object. The growth and the free of some are recorded, and some are pinned movable ones.
#[derive(Debug)]
pub(crate) enum Held {
    Plain(Buffer),
    Recorded(Recorded),
    Pinned(Pin),
}

impl From<HeldMovable> for Held {
    fn from(held: HeldMovable) -> Self {
        match held {
            HeldMovable::Plain(buffer) => Self::Plain(buffer.into_buffer()),
            HeldMovable::Recorded(buffer) => Self::Recorded(buffer.into_buffer()),
        }
    }
}

impl Held {
    /// Calls `look` with the buffer. This never waits.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Buffer) -> R) -> R {
        match self {
            Self::Plain(buffer) => look(buffer),
            Self::Recorded(buffer) => look(buffer),
            Self::Pinned(pin) => pin.look(look),
        }
    }

    pub(crate) fn retire(self, ticket: &Ticket) {
        match self {
            Self::Plain(buffer) => buffer.retire(ticket),
            Self::Recorded(buffer) => buffer.retire(ticket),
            Self::Pinned(pin) => pin.end_after(ticket),
        }
    }

    /// Frees the buffer if that calls neither the device nor the system. Otherwise returns it.
    pub(crate) fn free_at_once(self) -> Option<Self> {
        match self {
            Self::Plain(buffer) => buffer.free_at_once().err().map(Self::Plain),
            // The recorder writes the free to a file, and the last pin may free its buffer.
            held => Some(held),
        }
    }

    /// Grows the buffer in place. Returns `None` for one that cannot grow at all, because it is pinned.
    pub(crate) fn grow(&mut self, size: u64) -> Option<Result<(), AllocError>> {
        match self {
            Self::Plain(buffer) => Some(buffer.grow(size)),
            Self::Recorded(buffer) => Some(buffer.grow(size)),
            Self::Pinned(_) => None,
        }
    }

    /// Does the same as [`Held::grow`], or moves the buffer and returns the old one.
    pub(crate) fn grow_or_move(&mut self, request: Request) -> Option<Result<Option<Self>, AllocError>> {
        Some(match self {
            Self::Plain(buffer) => buffer.grow_or_move(request).map(|behind| behind.map(Self::Plain)),
            Self::Recorded(buffer) => buffer.grow_or_move(request).map(|behind| behind.map(Self::Recorded)),
            Self::Pinned(_) => return None,
        })
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

    pub(crate) fn allocate_movable(&self, request: Request) -> Result<HeldMovable, AllocError> {
        match &self.recorder {
            Some(recorder) => recorder.allocate_movable(request).map(HeldMovable::Recorded),
            None => self.pool.allocate_movable(request).map(HeldMovable::Plain),
        }
    }

    pub(crate) fn allocate_on(&self, queue: &PoolQueue, request: Request) -> Result<Held, AllocError> {
        match &self.recorder {
            Some(recorder) => recorder.allocate_on(queue, request).map(Held::Recorded),
            None => queue.allocate(request).map(Held::Plain),
        }
    }
}

/// Makes the heaps hold memory for buffers of these sizes in bytes, or those of the settings, all alive at
/// once. Ends early if `interrupted`.
pub(crate) fn warm(
    pool: &Pool,
    sizes: Option<Vec<u64>>,
    site: CallSite,
    interrupted: impl Fn() -> bool,
) -> Result<(), AllocError> {
    let sizes = match sizes {
        Some(sizes) => sizes,
        None if pool.config().heaps == HeapSizing::Fixed => Vec::new(),
        None => pool.config().warmup_sizes.clone(),
    };
    let request = |size| Request::new(size).zeroed().no_fallback().call_site(site);
    let held = sizes.into_iter().take_while(|_| !interrupted()).map(|size| pool.allocate(request(size)));
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

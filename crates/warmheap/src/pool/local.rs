//! What each thread has of each pool it uses: its cache, its counters, and on elastic devices
//! heaps of its own.
//!
//! The hot path reads one thread-local pointer: the pool used last. If that is another pool, the
//! thread's own short list is searched. A thread's share lives as long as the thread or the pool,
//! whichever ends first: a thread's end gives its ranges back, and a pool's end closes the cache
//! from outside.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use super::cache::Cache;
use super::counters::Counters;
use super::range::EXACT;
use super::shared::Shared;
use crate::sync::{Biased, Inside, Owner};

/// A thread's share of a pool.
#[derive(Debug)]
pub(crate) struct Local {
    /// The address of the pool, for comparison only.
    pool: usize,
    pool_handle: Weak<Shared>,
    pub(crate) counters: Counters,
    /// Granules in `cache`.
    pub(crate) held: AtomicU64,
    pub(crate) cache: Biased<Cache>,
    /// The heaps that this thread has adopted.
    pub(crate) home: Option<Home>,
}

/// A thread's own heaps: one for ranges of a class, one for all others. Apart, small buffers that
/// stay do not end up in the holes that large ones come back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) large: u16,
    pub(crate) small: u16,
}

impl Home {
    #[inline(always)]
    pub(crate) fn owns(self, heap: u16) -> bool {
        heap == self.large || heap == self.small
    }

    #[inline(always)]
    pub(crate) fn for_class(self, class: u16) -> u16 {
        if class == EXACT { self.large } else { self.small }
    }
}

impl Local {
    /// The calling thread's share; `home` has been adopted by it.
    pub(crate) fn new(pool: Weak<Shared>, limit: u64, counters: Counters, home: Option<Home>) -> Self {
        let cache = Biased::new(Cache::new(limit));
        cache.adopt();
        Self {
            pool: pool.as_ptr() as usize,
            pool_handle: pool,
            counters,
            held: AtomicU64::new(0),
            cache,
            home,
        }
    }
}

/// This thread, inside its own cache. While it is, the pool cannot end.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) cache: Inside<'a, Cache>,
    pub(crate) local: &'a Local,
    pub(crate) owner: Owner,
}

thread_local! {
    /// The pool used last and this thread's share of it. Has no destructor, so that reading it is
    /// one instruction.
    static CURRENT: Current = const { Current { pool: Cell::new(ptr::null()), local: Cell::new(ptr::null()) } };
    static MINE: Mine = const { Mine(RefCell::new(Vec::new())) };
}

struct Current {
    pool: Cell<*const Shared>,
    local: Cell<*const Local>,
}

impl Current {
    fn set(&self, pool: *const Shared, local: *const Local) {
        self.pool.set(pool);
        self.local.set(local);
    }
}

/// All shares of this thread.
struct Mine(RefCell<Vec<Arc<Local>>>);

impl Drop for Mine {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(ptr::null(), ptr::null()));
        for local in self.0.borrow_mut().drain(..) {
            if let Some(shared) = local.pool_handle.upgrade() {
                shared.detach(&local);
            }
        }
    }
}

/// Enters this thread's cache for `shared`, if it was the one used last and is not wanted by
/// another thread at this moment.
#[inline(always)]
pub(crate) fn enter<R>(shared: *const Shared, work: impl FnOnce(Session<'_>) -> R) -> Option<R> {
    let current = CURRENT.with(|current| (current.pool.get() == shared).then(|| current.local.get()))?;
    // SAFETY: a share was stored together with this pool. `MINE` keeps it alive; it lets go of
    // shares only in `attach` and at the thread's end, and neither runs during this call.
    let local = unsafe { &*current };
    // SAFETY: shares are reached through the list of the thread that made them, and that thread
    // adopted the cache and the home. The cache stays its own; the home is left only when the cache
    // is closed, which requests never meet (their handle keeps the pool open) and frees look for.
    let owner = unsafe { Owner::new() };
    let cache = local.cache.enter(&owner)?;
    Some(work(Session { cache, local, owner }))
}

/// Makes this thread's share of `shared` the current one, creating it if needed. `false` if there
/// can be none: the thread is ending, or the pool is.
#[cold]
pub(crate) fn attach(shared: &Shared) -> bool {
    let attached = MINE.try_with(|mine| {
        let mut mine = mine.0.borrow_mut();
        // What the retain below lets go of may be the current one.
        CURRENT.with(|current| current.set(ptr::null(), ptr::null()));
        mine.retain(|local| local.pool_handle.strong_count() > 0);
        let pool = ptr::from_ref(shared) as usize;
        let local = match mine.iter().find(|local| local.pool == pool) {
            Some(local) => Arc::clone(local),
            None => {
                let local = shared.new_local()?;
                mine.push(Arc::clone(&local));
                local
            }
        };
        CURRENT.with(|current| current.set(shared, Arc::as_ptr(&local)));
        Some(())
    });
    matches!(attached, Ok(Some(())))
}

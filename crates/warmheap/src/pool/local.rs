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
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use super::cache::Cache;
use super::counters::Counters;
use super::home::Home;
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
    /// The place of the first of the two heaps that this thread has adopted, or one of the marks
    /// below. Written by the thread alone.
    home: AtomicU32,
}

/// Nothing was cut for this thread yet. A thread that only frees never needs heaps of its own, and
/// must not keep a thread that ends and is replaced from finding its predecessor's.
const UNDECIDED: u32 = u32::MAX;
/// This thread uses the heaps that all share.
const SHARED: u32 = u32::MAX - 1;

impl Local {
    /// The calling thread's share, without heaps of its own so far.
    pub(crate) fn new(pool: Weak<Shared>, limit: u64, counters: Counters) -> Self {
        let cache = Biased::new(Cache::new(limit));
        cache.adopt();
        Self {
            pool: pool.as_ptr() as usize,
            pool_handle: pool,
            counters,
            held: AtomicU64::new(0),
            cache,
            home: AtomicU32::new(UNDECIDED),
        }
    }

    /// The heaps that this thread has adopted.
    #[inline(always)]
    pub(crate) fn home(&self) -> Option<Home> {
        let large = self.home.load(Relaxed);
        (large < SHARED).then(|| Home { large: large as u16, small: large as u16 + 1 })
    }

    /// Whether it is still open if this thread has heaps of its own.
    #[inline]
    pub(crate) fn is_undecided(&self) -> bool {
        self.home.load(Relaxed) == UNDECIDED
    }

    /// Decides that; the calling thread is this share's and has adopted the heaps.
    pub(crate) fn decide(&self, home: Option<Home>) {
        self.home.store(home.map_or(SHARED, |home| home.large.into()), Relaxed);
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
    // SAFETY: the share is not used past this call.
    let local = unsafe { current(shared)? };
    // SAFETY: shares are reached through the list of the thread that made them, and that thread
    // adopted the cache and the home. The cache stays its own; the home is left only when the cache
    // is closed, which requests never meet (their handle keeps the pool open) and frees look for.
    let owner = unsafe { Owner::new() };
    let cache = local.cache.enter(&owner)?;
    Some(work(Session { cache, local, owner }))
}

/// Looks at this thread's share of `shared`, if it was the one used last.
pub(crate) fn share<R>(shared: *const Shared, look: impl FnOnce(&Local) -> R) -> Option<R> {
    // SAFETY: the share is not used past this call.
    unsafe { current(shared) }.map(look)
}

/// This thread's share of `shared`, if it was the one used last.
///
/// # Safety
/// The reference must not outlive the caller's own call: the next use of another pool may end the share.
#[inline(always)]
unsafe fn current<'a>(shared: *const Shared) -> Option<&'a Local> {
    let local = CURRENT.with(|current| (current.pool.get() == shared).then(|| current.local.get()))?;
    // SAFETY: a share was stored together with this pool. `MINE` keeps it alive; it lets go of
    // shares only in `attach` and at the thread's end, and neither runs during the caller's call.
    Some(unsafe { &*local })
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

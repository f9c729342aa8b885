//! Each thread's caches, one for each pool it uses.
//!
//! The hot path reads one thread-local pointer: the cache used last. If that is another pool's, the
//! thread's own short list is searched. A cache lives as long as its thread or its pool, whichever
//! ends first: a thread's end gives its ranges back, and a pool's end closes the cache from outside.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use super::cache::Cache;
use super::counters::Counters;
use super::shared::Shared;
use crate::sync::{Biased, Inside, Owner};

/// A thread's cache and counters for one pool.
#[derive(Debug)]
pub(crate) struct ThreadCache {
    /// The address of the pool, for comparison only.
    pool: usize,
    home: Weak<Shared>,
    pub(crate) counters: Counters,
    /// Granules in `cache`.
    pub(crate) held: AtomicU64,
    pub(crate) cache: Biased<Cache>,
}

impl ThreadCache {
    pub(crate) fn new(home: Weak<Shared>, limit: u64) -> Self {
        Self {
            pool: home.as_ptr() as usize,
            home,
            counters: Counters::default(),
            held: AtomicU64::new(0),
            cache: Biased::new(Cache::new(limit)),
        }
    }
}

thread_local! {
    /// The cache used last, or null. Has no destructor, so reading it is one instruction.
    static CURRENT: Cell<*const ThreadCache> = const { Cell::new(ptr::null()) };
    static MINE: Mine = const { Mine(RefCell::new(Vec::new())) };
}

/// All caches of this thread.
struct Mine(RefCell<Vec<Arc<ThreadCache>>>);

impl Drop for Mine {
    fn drop(&mut self) {
        CURRENT.set(ptr::null());
        for cache in self.0.borrow_mut().drain(..) {
            if let Some(shared) = cache.home.upgrade() {
                shared.detach(&cache);
            }
        }
    }
}

/// Enters this thread's cache for `shared`, if it was the one used last and is not wanted by
/// another thread at this moment.
#[inline(always)]
pub(crate) fn enter<R>(
    shared: *const Shared,
    inside: impl FnOnce(Inside<'_, Cache>, &ThreadCache) -> R,
) -> Option<R> {
    let current = CURRENT.get();
    if current.is_null() {
        return None;
    }
    // SAFETY: `MINE` keeps the cache alive; it lets go of caches only in `attach` and at the
    // thread's end, and neither runs during this call.
    let thread = unsafe { &*current };
    if thread.pool != shared as usize {
        return None;
    }
    // SAFETY: caches are reached through this thread's own list, so this is the one thread that
    // ever makes an `Owner` for this cache, and none outlives this call.
    let owner = unsafe { Owner::new() };
    Some(inside(thread.cache.enter(&owner)?, thread))
}

/// Makes this thread's cache for `shared` the current one, creating it if needed. `false` if there
/// can be none: the thread is ending, or the pool is.
#[cold]
pub(crate) fn attach(shared: &Shared) -> bool {
    let attached = MINE.try_with(|mine| {
        let mut mine = mine.0.borrow_mut();
        // What the retain below lets go of may be the current one.
        CURRENT.set(ptr::null());
        mine.retain(|cache| cache.home.strong_count() > 0);
        let pool = ptr::from_ref(shared) as usize;
        let known = mine.iter().find(|cache| cache.pool == pool);
        let cache = match known {
            Some(cache) => Arc::clone(cache),
            None => {
                let cache = shared.new_cache()?;
                mine.push(Arc::clone(&cache));
                cache
            }
        };
        CURRENT.set(Arc::as_ptr(&cache));
        Some(())
    });
    matches!(attached, Ok(Some(())))
}

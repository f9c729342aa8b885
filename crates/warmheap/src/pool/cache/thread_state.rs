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
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};

use crate::fork;
use crate::pool::accounting::counters::Counters;
use crate::pool::cache::thread_cache::ThreadCache;
use crate::pool::heaps::thread_owned::OwnHeaps;
use crate::sync::{Biased, Inside};

/// A pool as its threads know it: they join it, and leave it when they end.
pub(crate) trait Threads: std::fmt::Debug + Send + Sync {
    /// The calling thread's share of the pool; `None` once the pool is closed.
    fn new_local(&self) -> Option<Arc<ThreadState>>;

    /// Whether the calling process made the pool, and did not inherit it by a fork.
    fn is_here(&self) -> bool;

    /// Takes over what an ending thread had.
    fn detach(&self, local: &Arc<ThreadState>);
}

/// A thread's share of a pool.
#[derive(Debug)]
pub(crate) struct ThreadState {
    /// The address of the pool, for comparison only.
    pool: usize,
    pool_handle: Weak<dyn Threads>,
    pub(crate) counters: Counters,
    /// Granules in `cache`.
    pub(crate) held: AtomicU64,
    /// Owned by the thread for as long as the share lives.
    pub(crate) own: Biased<Own>,
}

/// What a thread owns of a pool. It stands behind one lock, so that whoever ends the share takes all
/// of it at once, and the thread reaches none of it afterwards.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) cache: ThreadCache,
    pub(crate) heaps: OwnHeaps,
}

impl ThreadState {
    /// The calling thread's share, without heaps of its own so far.
    pub(crate) fn new(pool: Weak<dyn Threads>, limit: u64, counters: Counters) -> Self {
        let own = Biased::new(Own { cache: ThreadCache::new(limit), heaps: OwnHeaps::Undecided });
        // The right to it is the thread's for good: see `enter`.
        let _ = own.adopt();
        Self {
            pool: pool.as_ptr().cast::<()>() as usize,
            pool_handle: pool,
            counters,
            held: AtomicU64::new(0),
            own,
        }
    }
}

/// This thread, inside what it owns of a pool. While it is, an open pool cannot close.
#[derive(Debug)]
pub(crate) struct CacheGuard<'a> {
    pub(crate) own: Inside<'a, Own>,
    pub(crate) local: &'a ThreadState,
}

crate::sync::thread_local! {
    /// The pool used last and this thread's share of it. Has no destructor, so that reading it is
    /// one instruction.
    static CURRENT: Current = const { Current { pool: Cell::new(ptr::null()), local: Cell::new(ptr::null()) } };
    static MINE: Mine = const { Mine(RefCell::new(Vec::new())) };
}

struct Current {
    pool: Cell<*const ()>,
    local: Cell<*const ThreadState>,
}

impl Current {
    fn set(&self, pool: *const (), local: *const ThreadState) {
        self.pool.set(pool);
        self.local.set(local);
    }
}

/// All shares of this thread.
struct Mine(RefCell<Vec<Arc<ThreadState>>>);

impl Drop for Mine {
    fn drop(&mut self) {
        // Always there, but in a model, which also ends variables that have no destructor.
        let _ = CURRENT.try_with(|current| current.set(ptr::null(), ptr::null()));
        for local in self.0.borrow_mut().drain(..) {
            match local.pool_handle.upgrade() {
                Some(pool) if pool.is_here() => pool.detach(&local),
                // The parent's, and nobody's here.
                Some(_) => std::mem::forget(local),
                None => {}
            }
        }
    }
}

/// Enters this thread's cache for `pool`, if it was the one used last and is not wanted by
/// another thread at this moment.
#[inline(always)]
pub(crate) fn enter<P, R>(pool: *const P, work: impl FnOnce(CacheGuard<'_>) -> R) -> Option<R> {
    // SAFETY: the share is not used past this call.
    let local = unsafe { current(pool)? };
    // SAFETY: shares are reached through the list of the thread that made them, which adopted the
    // lock then, and no code ends that. No session is begun inside another: what runs inside one is
    // the pool's own, and calls no device, no subscriber and no destructor of others.
    let own = unsafe { local.own.enter_as_owner()? };
    Some(work(CacheGuard { own, local }))
}

/// Looks at this thread's share of `pool` from outside of it, attaching it first if need be. `None` if
/// there can be none.
pub(crate) fn share<P: Threads, R>(pool: &P, look: impl FnOnce(&ThreadState) -> R) -> Option<R> {
    // SAFETY: the share is not used past this call.
    unsafe {
        let local = match current(pool) {
            None if attach(pool) => current(pool),
            local => local,
        };
        local.map(look)
    }
}

/// This thread's share of `pool`, if it was the one used last.
///
/// # Safety
/// The reference must not outlive the caller's own call: the next use of another pool may end the share.
#[inline(always)]
unsafe fn current<'a, P>(pool: *const P) -> Option<&'a ThreadState> {
    let local = CURRENT
        .try_with(|current| (current.pool.get() == pool.cast()).then(|| current.local.get()))
        .ok()??;
    // SAFETY: a share was stored together with this pool. `MINE` keeps it alive; it lets go of
    // shares only in `attach` and at the thread's end, and neither runs during the caller's call.
    Some(unsafe { &*local })
}

/// Has the child of a fork look before it uses a pool, as it does for one that it has not used last. That
/// is all that the hot path needs to know of forks.
unsafe extern "C" fn forget_current() {
    CURRENT.with(|current| current.set(ptr::null(), ptr::null()));
}

/// Makes this thread's share of `pool` the current one, creating it if needed. `false` if there
/// can be none: the thread is ending, the pool is, or it is that of a parent process.
#[cold]
pub(crate) fn attach<P: Threads>(pool: &P) -> bool {
    if !pool.is_here() {
        return false;
    }
    static KNOWN: AtomicBool = AtomicBool::new(false);
    fork::in_children(&KNOWN, forget_current);
    let attached = MINE.try_with(|mine| {
        let mut mine = mine.0.borrow_mut();
        // What the retain below lets go of may be the current one.
        CURRENT.with(|current| current.set(ptr::null(), ptr::null()));
        mine.retain(|local| local.pool_handle.strong_count() > 0);
        let address = ptr::from_ref(pool) as usize;
        let local = match mine.iter().find(|local| local.pool == address) {
            Some(local) => Arc::clone(local),
            None => {
                let local = pool.new_local()?;
                mine.push(Arc::clone(&local));
                local
            }
        };
        CURRENT.with(|current| current.set(ptr::from_ref(pool).cast(), Arc::as_ptr(&local)));
        Some(())
    });
    matches!(attached, Ok(Some(())))
}

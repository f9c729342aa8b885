//! Thread states: what each thread has of each pool that it uses. That is its cache, its counters and, on
//! devices whose heaps grow, heaps of its own.
//!
//! The hot path reads one thread-local pointer: the pool used last. If the thread uses another pool, it
//! searches its own short list. A thread state lives as long as the thread or the pool, whichever ends first.
//! The end of the thread gives its spans back. The end of the pool closes the cache from outside. A thread
//! must never reach the state of another thread through this module.
#![allow(unsafe_code)]

#[cfg(all(test, loom))]
mod model;

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};

use crate::fork;
use crate::pool::accounting::counters::Counters;
use crate::pool::cache::thread_cache::ThreadCache;
use crate::pool::heaps::table::HeapTable;
use crate::pool::heaps::thread_owned::OwnHeaps;
use crate::sync::{Biased, Inside, Taken};

/// A pool as its threads know it: they join it, and leave it when they end.
pub(crate) trait Threads: std::fmt::Debug + Send + Sync {
    /// Makes the calling thread's state in the pool. Returns `None` once the pool is closed.
    fn new_local(&self) -> Option<Arc<ThreadState>>;

    /// Whether the calling process made the pool, and did not inherit it by a fork.
    fn is_here(&self) -> bool;

    /// Takes over what an ending thread had.
    fn detach(&self, local: &Arc<ThreadState>);
}

/// What a thread has of a pool.
#[derive(Debug)]
pub(crate) struct ThreadState {
    /// The address of the pool, for comparison only.
    pool: usize,
    pool_handle: Weak<dyn Threads>,
    pub(crate) counters: Counters,
    /// The granules in `cache`.
    pub(crate) held: AtomicU64,
    /// The thread owns this lock for as long as the thread state lives.
    pub(crate) own: Biased<Own>,
}

/// What a thread owns of a pool. One lock guards all of it, so that the thread that ends the thread state
/// takes it all at once, and the owner reaches none of it afterwards.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) cache: ThreadCache,
    pub(crate) heaps: OwnHeaps,
}

impl ThreadState {
    /// The calling thread's state, without heaps of its own so far.
    pub(crate) fn new(pool: Weak<dyn Threads>, limit: u64, counters: Counters) -> Self {
        let own = Biased::new(Own { cache: ThreadCache::new(limit), heaps: OwnHeaps::Undecided });
        // The thread keeps the right to the lock for good: see `enter`.
        let _ = own.adopt();
        Self {
            pool: pool.as_ptr().cast::<()>() as usize,
            pool_handle: pool,
            counters,
            held: AtomicU64::new(0),
            own,
        }
    }

    /// Ends the thread state: its heaps are free for a later thread, its spans go back, and its cache refuses
    /// from now on. The owner is kept out until the caller drops the lock that this returns.
    pub(crate) fn end(&self, heaps: &HeapTable) -> Taken<'_, Own> {
        let mut own = self.own.take();
        own.heaps.leave(heaps);
        own.cache.close();
        let spans = own.cache.empty(&self.held);
        heaps.release(spans);
        own
    }
}

/// The calling thread's access to what it owns of a pool. An open pool cannot close while a guard exists.
#[derive(Debug)]
pub(crate) struct CacheGuard<'a> {
    pub(crate) own: Inside<'a, Own>,
    pub(crate) local: &'a ThreadState,
}

crate::sync::thread_local! {
    /// The pool used last and this thread's state in it. It has no destructor, so that reading it is one
    /// instruction.
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

/// All states of this thread.
struct Mine(RefCell<Vec<Arc<ThreadState>>>);

impl Drop for Mine {
    fn drop(&mut self) {
        // The variable always exists, except in a model, which also ends variables that have no destructor.
        let _ = CURRENT.try_with(|current| current.set(ptr::null(), ptr::null()));
        for local in self.0.borrow_mut().drain(..) {
            match local.pool_handle.upgrade() {
                Some(pool) if pool.is_here() => pool.detach(&local),
                // The state belongs to the parent process and must not be dropped here.
                Some(_) => std::mem::forget(local),
                None => {}
            }
        }
    }
}

/// Enters this thread's cache for `pool`, if that pool was the one used last and no other thread wants the
/// cache at this moment.
#[inline(always)]
pub(crate) fn enter<P, R>(pool: *const P, work: impl FnOnce(CacheGuard<'_>) -> R) -> Option<R> {
    // SAFETY: the thread state is not used past this call.
    let local = unsafe { current(pool)? };
    // SAFETY: a thread reaches only the states in its own list. It made them and adopted their locks then,
    // and no code ends that ownership. No guard is made inside another: what runs inside one is the pool's
    // own code, which calls no device, no subscriber and no destructor of others.
    let own = unsafe { local.own.enter_as_owner()? };
    Some(work(CacheGuard { own, local }))
}

/// As [`enter`], also for a cache whose lock has been demoted because the system refuses its help.
pub(crate) fn enter_fenced<P, R>(pool: *const P, work: impl FnOnce(CacheGuard<'_>) -> R) -> Option<R> {
    // SAFETY: as in `enter`.
    let local = unsafe { current(pool)? };
    // SAFETY: as in `enter`.
    let own = unsafe { local.own.enter_fenced()? };
    Some(work(CacheGuard { own, local }))
}

/// Looks at this thread's state in `pool` without entering it, and attaches the thread first if need be.
/// Returns `None` if the thread cannot have a state.
pub(crate) fn share<P: Threads, R>(pool: &P, look: impl FnOnce(&ThreadState) -> R) -> Option<R> {
    // SAFETY: the thread state is not used past this call.
    unsafe {
        let local = match current(pool) {
            None if attach(pool) => current(pool),
            local => local,
        };
        local.map(look)
    }
}

/// This thread's state in `pool`, if that pool was the one used last.
///
/// # Safety
/// The reference must not outlive the caller's own call, because the next use of another pool may end the
/// state.
#[inline(always)]
unsafe fn current<'a, P>(pool: *const P) -> Option<&'a ThreadState> {
    let look = |current: &Current| (current.pool.get() == pool.cast()).then(|| current.local.get());
    // A thread-local without a destructor can be read at any time, and `with` costs nothing then. Shuttle ends
    // all of them.
    #[cfg(not(shuttle))]
    let local = CURRENT.with(look)?;
    #[cfg(shuttle)]
    let local = CURRENT.try_with(look).ok()??;
    // SAFETY: a thread state was stored together with this pool. `MINE` keeps it alive. `MINE` drops states
    // only in `attach` and at the thread's end, and neither runs during the caller's call.
    Some(unsafe { &*local })
}

/// Makes the child of a fork take the slow way to its next pool, as for a pool that it did not use last. The
/// hot path needs to know no more of forks.
unsafe extern "C" fn forget_current() {
    CURRENT.with(|current| current.set(ptr::null(), ptr::null()));
}

/// Makes this thread's state in `pool` the current one, and creates it if needed. Returns `false` if there
/// can be none: the thread is ending, the pool is closing, or the pool belongs to a parent process.
#[cold]
pub(crate) fn attach<P: Threads>(pool: &P) -> bool {
    if !pool.is_here() {
        return false;
    }
    static KNOWN: AtomicBool = AtomicBool::new(false);
    fork::in_children(&KNOWN, forget_current);
    let attached = MINE.try_with(|mine| {
        let mut mine = mine.0.borrow_mut();
        // The state that the retain below drops may be the current one.
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

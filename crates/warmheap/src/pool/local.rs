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

use super::cache::Cache;
use super::counters::Counters;
use super::home::OwnHeaps;
use super::shared::Shared;
use crate::fork;
use crate::sync::{Biased, Inside};

/// A thread's share of a pool.
#[derive(Debug)]
pub(crate) struct Local {
    /// The address of the pool, for comparison only.
    pool: usize,
    pool_handle: Weak<Shared>,
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
    pub(crate) cache: Cache,
    pub(crate) heaps: OwnHeaps,
}

impl Local {
    /// The calling thread's share, without heaps of its own so far.
    pub(crate) fn new(pool: Weak<Shared>, limit: u64, counters: Counters) -> Self {
        let own = Biased::new(Own { cache: Cache::new(limit), heaps: OwnHeaps::Undecided });
        // The right to it is the thread's for good: see `enter`.
        let _ = own.adopt();
        Self { pool: pool.as_ptr() as usize, pool_handle: pool, counters, held: AtomicU64::new(0), own }
    }
}

/// This thread, inside what it owns of a pool. While it is, an open pool cannot close.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) own: Inside<'a, Own>,
    pub(crate) local: &'a Local,
}

crate::sync::thread_local! {
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
        // Always there, but in a model, which also ends variables that have no destructor.
        let _ = CURRENT.try_with(|current| current.set(ptr::null(), ptr::null()));
        for local in self.0.borrow_mut().drain(..) {
            match local.pool_handle.upgrade() {
                Some(shared) if shared.process.is_current() => shared.detach(&local),
                // The parent's, and nobody's here.
                Some(_) => std::mem::forget(local),
                None => {}
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
    // SAFETY: shares are reached through the list of the thread that made them, which adopted the
    // lock then, and no code ends that. No session is begun inside another: what runs inside one is
    // the pool's own, and calls no device, no subscriber and no destructor of others.
    let own = unsafe { local.own.enter_as_owner()? };
    Some(work(Session { own, local }))
}

/// Looks at this thread's share of `shared` from outside of it, attaching it first if need be. `None` if
/// there can be none.
pub(crate) fn share<R>(shared: &Shared, look: impl FnOnce(&Local) -> R) -> Option<R> {
    // SAFETY: the share is not used past this call.
    unsafe {
        let local = match current(shared) {
            None if attach(shared) => current(shared),
            local => local,
        };
        local.map(look)
    }
}

/// This thread's share of `shared`, if it was the one used last.
///
/// # Safety
/// The reference must not outlive the caller's own call: the next use of another pool may end the share.
#[inline(always)]
unsafe fn current<'a>(shared: *const Shared) -> Option<&'a Local> {
    let local =
        CURRENT.try_with(|current| (current.pool.get() == shared).then(|| current.local.get())).ok()??;
    // SAFETY: a share was stored together with this pool. `MINE` keeps it alive; it lets go of
    // shares only in `attach` and at the thread's end, and neither runs during the caller's call.
    Some(unsafe { &*local })
}

/// Has the child of a fork look before it uses a pool, as it does for one that it has not used last. That
/// is all that the hot path needs to know of forks.
unsafe extern "C" fn forget_current() {
    CURRENT.with(|current| current.set(ptr::null(), ptr::null()));
}

/// Makes this thread's share of `shared` the current one, creating it if needed. `false` if there
/// can be none: the thread is ending, the pool is, or it is that of a parent process.
#[cold]
pub(crate) fn attach(shared: &Shared) -> bool {
    if !shared.process.is_current() {
        return false;
    }
    static KNOWN: AtomicBool = AtomicBool::new(false);
    fork::in_children(&KNOWN, forget_current);
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

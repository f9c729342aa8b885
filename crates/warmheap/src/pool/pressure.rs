//! Telling the program that memory is short, so that it can do something about it.
//!
//! Callbacks are the program's: they may take time, free, allocate, trim or register others. So none
//! of the pool's locks is held while one runs, and a callback whose own requests run short is not
//! called again from within.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use super::{Handle, Pool, lock};
use crate::sync::Mutex;

/// Why a callback of [`Pool::on_pressure`] is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pressure {
    /// More is held from the device than a soft limit says. Everything that no buffer uses has been
    /// given back before.
    SoftLimit {
        /// Bytes held.
        reserved: u64,
        /// Heaps and fallback buffers held.
        objects: u64,
    },
    /// A request is about to fail: neither heaps nor the device can serve it. It is tried once more
    /// after the callbacks.
    Exhausted {
        /// Bytes asked for.
        requested: u64,
    },
}

pub(super) type Callback = Arc<dyn Fn(&Pool, Pressure) + Send + Sync>;

/// Whom to tell.
#[derive(Default)]
pub(crate) struct Callbacks {
    /// The pool as callbacks know it.
    pool: OnceLock<Weak<Handle>>,
    list: Mutex<Vec<Callback>>,
}

crate::sync::thread_local! {
    /// This thread is in a callback of some pool.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Clears the mark also when a callback panics.
struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with(|inside| inside.set(false));
    }
}

impl Callbacks {
    pub(super) fn belong_to(&self, pool: Weak<Handle>) {
        // Set once, when the pool is made.
        let _ = self.pool.set(pool);
    }

    pub(crate) fn add(&self, callback: Callback) {
        lock(&self.list).push(callback);
    }

    /// Takes every callback off the list, to be dropped without a lock: they are the program's, and may
    /// hold buffers.
    pub(super) fn end(&self) -> Vec<Callback> {
        std::mem::take(&mut *lock(&self.list))
    }

    /// Calls every callback, in the order of registration. `false` if there was none to call.
    pub(crate) fn call(&self, pressure: Pressure) -> bool {
        let list = lock(&self.list).clone();
        let pool = self.pool.get().and_then(Weak::upgrade);
        let Some(handle) = pool.filter(|_| !list.is_empty() && !INSIDE.with(Cell::get)) else { return false };
        let pool = Pool { handle };
        INSIDE.with(|inside| inside.set(true));
        let _inside = Inside;
        list.iter().for_each(|callback| callback(&pool, pressure));
        true
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("registered", &lock(&self.list).len()).finish_non_exhaustive()
    }
}

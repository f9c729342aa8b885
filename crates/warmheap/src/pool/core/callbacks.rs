//! The program's callbacks for when memory is short.
//!
//! The module owns the list of callbacks. They are the program's: they may take time, free, allocate, trim or
//! register others. So no lock of the pool may be held while one runs. A callback whose own requests run
//! short is never called again from within itself.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use crate::pool::interface::pressure::Pressure;
use crate::sync::{Mutex, lock};

pub(crate) type Callback = Arc<dyn Fn(Pressure) + Send + Sync>;

/// The callbacks to call.
#[derive(Default)]
pub(crate) struct Callbacks {
    list: Mutex<Vec<Callback>>,
}

crate::sync::thread_local! {
    /// Whether this thread is in a callback of some pool.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Clears the mark, also when a callback panics.
struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with(|inside| inside.set(false));
    }
}

impl Callbacks {
    pub(crate) fn add(&self, callback: Callback) {
        lock(&self.list).push(callback);
    }

    /// Takes every callback off the list. The caller drops them without a lock, because they are the
    /// program's and may hold buffers.
    pub(crate) fn end(&self) -> Vec<Callback> {
        std::mem::take(&mut *lock(&self.list))
    }

    /// Calls every callback, in the order of registration. Returns `false` if none was called.
    pub(crate) fn call(&self, pressure: Pressure) -> bool {
        let list = lock(&self.list).clone();
        if list.is_empty() || INSIDE.with(Cell::get) {
            return false;
        }
        INSIDE.with(|inside| inside.set(true));
        let _inside = Inside;
        list.iter().for_each(|callback| callback(pressure));
        true
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("registered", &lock(&self.list).len()).finish_non_exhaustive()
    }
}

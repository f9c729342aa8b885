//! Handles: numbers in place of pointers.
//!
//! A handle is a place in a table and the number of times that place was used before. It is therefore told
//! apart from the handle of anything closed, freed or never made. The count of uses begins anew after two
//! thousand million uses of one place. Handles of different kinds differ in their highest bits, so that one
//! kind passed for another names nothing.
//!
//! No table is locked while code of the program runs: not during a call of the library that may log, call
//! back or wait. What leaves a table is dropped after the lock is released.
#![forbid(unsafe_code)]

mod buffers;
mod held;
mod pools;
mod queues;

use slotmap::{Key, KeyData};

use crate::status::{Failure, wh_status};

pub(crate) use buffers::{Entry, add_buffer, buffers_locked, remove_buffer, take_buffer, with_buffer};
pub(crate) use held::{Held, Movable};
pub(crate) use pools::{
    add_pool, pool, pool_and_recorder, pools_locked, remove_pool, set_recorder, take_recorder,
};
pub(crate) use queues::{OpenQueue, Order, add_queue, close_queue, queue, queues_locked};

fn gone(what: &str) -> Failure {
    Failure::new(
        wh_status::WH_INVALID_HANDLE,
        format!("the {what} handle names nothing: never made, or closed or freed before"),
    )
}

/// Returns the key with this number. `from_ffi` takes a number of no key for the nearest key; here such a
/// number is the handle of nothing.
fn key<K: Key>(id: u64) -> K {
    let nearest = KeyData::from_ffi(id);
    if nearest.as_ffi() == id { nearest.into() } else { K::null() }
}

//! Handles: numbers in place of pointers.
//!
//! A handle is a place in a table, in the low half, and the number of times that place was used before, in the
//! high half. It is therefore told apart from the handle of anything closed, freed or never made. The count of
//! uses begins anew after two thousand million uses of one place.
//!
//! ```text
//! 63            32 31     28 27               0
//! [ uses         ] [ table ] [ place          ]
//! ```
//!
//! The number of the table tells the kinds of handles apart, so that one kind passed for another names nothing:
//! pools have one table, queues have one, and buffers have the others. A place has a number below 2^28, because
//! 268 million handles of one table would not fit into memory.
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
pub(crate) use held::{Held, Movable, Shared};
pub(crate) use pools::{
    OpenPool, add_data, add_pool, pool, pool_and_recorder, pools_locked, remove_pool, set_recorder,
    take_recorder,
};
pub(crate) use queues::{OpenQueue, Order, add_queue, close_queue, queue, queues_locked};

fn gone(what: &str) -> Failure {
    Failure::new(
        wh_status::WH_INVALID_HANDLE,
        format!("the {what} handle names nothing: never made, or closed or freed before"),
    )
}

/// The lowest bit of a table's number.
const TABLE_SHIFT: u32 = 28;
/// The tables of buffers are the first ones.
const BUFFERS: u64 = 14;
const POOLS: u64 = 14;
const QUEUES: u64 = 15;

/// Returns the handle of a key in this table.
fn handle<K: Key>(table: u64, key: K) -> u64 {
    key.data().as_ffi() ^ table << TABLE_SHIFT
}

/// Returns the key of a handle. The handle of another table gets a place that no table has. `from_ffi` takes a
/// number of no key for the nearest key; here such a number is the handle of nothing.
fn key<K: Key>(table: u64, id: u64) -> K {
    let number = id ^ table << TABLE_SHIFT;
    let nearest = KeyData::from_ffi(number);
    if nearest.as_ffi() == number { nearest.into() } else { K::null() }
}

/// Returns the number of the table in a handle.
fn table_of(id: u64) -> u64 {
    id >> TABLE_SHIFT & 0xF
}

#[cfg(test)]
mod tests {
    use slotmap::DefaultKey;

    use super::*;

    /// The key of a place after some uses.
    fn used(place: u64, uses: u64) -> DefaultKey {
        KeyData::from_ffi((2 * uses + 1) << 32 | place).into()
    }

    #[test]
    fn a_handle_names_one_place_of_one_table_however_often_the_place_was_used() {
        for uses in [0, 1, 1 << 20, 1 << 29, 1 << 30, (1 << 31) - 1] {
            for place in [1, 2, 1000, (1 << TABLE_SHIFT) - 1] {
                for table in 0..=QUEUES {
                    let id = handle(table, used(place, uses));
                    assert_eq!((table_of(id), key(table, id)), (table, used(place, uses)));
                    for other in (0..=QUEUES).filter(|other| *other != table) {
                        let key: DefaultKey = key(other, id);
                        let place = key.data().as_ffi() & u64::from(u32::MAX);
                        assert!(place >= 1 << TABLE_SHIFT, "{id:#x} of table {table} in {other}");
                    }
                }
            }
        }
    }
}

//! Handles: numbers in place of pointers.
//!
//! A handle is a place in a table and the number of times that place was used before. It is therefore told
//! apart from the handle of anything closed, freed or never made. The count of uses begins anew after two
//! thousand million uses of one place.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use slotmap::{Key, KeyData, SlotMap, new_key_type};
use warmheap::{Buffer, Pool};

use crate::status::{Failure, wh_status};

new_key_type! {
    struct PoolKey;
    struct BufferKey;
}

static POOLS: LazyLock<RwLock<SlotMap<PoolKey, Pool>>> = LazyLock::new(RwLock::default);
/// Several tables share the buffers, so that threads seldom wait for one another.
static BUFFERS: LazyLock<[Mutex<SlotMap<BufferKey, Buffer>>; TABLES as usize]> =
    LazyLock::new(Default::default);
const TABLES: u64 = 16;
/// The lowest bit of the table's number in a buffer's handle. It is above any index and below the count of
/// uses.
const TABLE_SHIFT: u32 = 28;

thread_local! {
    /// The table to which this thread adds buffers.
    static MINE: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % TABLES
    };
}

fn gone(what: &str) -> Failure {
    Failure::new(
        wh_status::WH_INVALID_HANDLE,
        format!("the {what} handle names nothing: never made, or closed or freed before"),
    )
}

/// The locks of all tables.
pub(crate) struct Tables {
    _pools: RwLockWriteGuard<'static, SlotMap<PoolKey, Pool>>,
    _buffers: [MutexGuard<'static, SlotMap<BufferKey, Buffer>>; TABLES as usize],
}

/// Locks all tables. No thread holds one table while it waits for another.
pub(crate) fn all() -> Tables {
    let pools = POOLS.write().unwrap_or_else(PoisonError::into_inner);
    Tables { _pools: pools, _buffers: std::array::from_fn(|table| lock(table as u64)) }
}

pub(crate) fn add_pool(pool: Pool) -> u64 {
    let mut pools = POOLS.write().unwrap_or_else(PoisonError::into_inner);
    pools.insert(pool).data().as_ffi()
}

pub(crate) fn pool(id: u64) -> Result<Pool, Failure> {
    let pools = POOLS.read().unwrap_or_else(PoisonError::into_inner);
    let pool = pools.get(key(id)).ok_or_else(|| gone("pool"))?;
    pool.process().check()?;
    Ok(pool.clone())
}

pub(crate) fn remove_pool(id: u64) -> Result<Pool, Failure> {
    let mut pools = POOLS.write().unwrap_or_else(PoisonError::into_inner);
    pools.get(key(id)).ok_or_else(|| gone("pool"))?.process().check()?;
    pools.remove(key(id)).ok_or_else(|| gone("pool"))
}

/// Stores the buffer and returns its handle: its key, with the table's number in the highest bits of the
/// index.
pub(crate) fn add_buffer(buffer: Buffer) -> u64 {
    let table = MINE.with(|mine| *mine);
    lock(table).insert(buffer).data().as_ffi() | table << TABLE_SHIFT
}

/// Calls `look` with a buffer, while the buffer's table is locked.
pub(crate) fn with_buffer<R>(id: u64, look: impl FnOnce(&Buffer) -> R) -> Result<R, Failure> {
    let (table, key) = place(id);
    let buffers = lock(table);
    let buffer = buffers.get(key).ok_or_else(|| gone("buffer"))?;
    buffer.process().check()?;
    Ok(look(buffer))
}

pub(crate) fn remove_buffer(id: u64) -> Result<Buffer, Failure> {
    let (table, key) = place(id);
    let mut buffers = lock(table);
    buffers.get(key).ok_or_else(|| gone("buffer"))?.process().check()?;
    buffers.remove(key).ok_or_else(|| gone("buffer"))
}

fn place(id: u64) -> (u64, BufferKey) {
    let table = id >> TABLE_SHIFT & (TABLES - 1);
    (table, key(id & !((TABLES - 1) << TABLE_SHIFT)))
}

fn lock(table: u64) -> MutexGuard<'static, SlotMap<BufferKey, Buffer>> {
    BUFFERS[table as usize].lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the key with this number. `from_ffi` takes a number of no key for the nearest key; here such a
/// number is the handle of nothing.
fn key<K: Key>(id: u64) -> K {
    let nearest = KeyData::from_ffi(id);
    if nearest.as_ffi() == id { nearest.into() } else { K::null() }
}

//! Numbers in place of pointers.
//!
//! A handle is a place in a table and the number of times the place was used before, so a handle
//! to something closed, freed or never made is told apart from a live one. (A place counts two
//! thousand million uses before it begins anew.)
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

use slotmap::{Key, KeyData, SlotMap, new_key_type};
use warmheap::{Buffer, Pool};

use crate::status::{Failure, wh_status};

new_key_type! {
    struct PoolKey;
    struct BufferKey;
}

static POOLS: LazyLock<RwLock<SlotMap<PoolKey, Pool>>> = LazyLock::new(RwLock::default);
/// Buffers are spread over several tables, so that threads seldom wait for one another.
static BUFFERS: LazyLock<[Mutex<SlotMap<BufferKey, Buffer>>; TABLES as usize]> =
    LazyLock::new(Default::default);
const TABLES: u64 = 16;
/// Where a buffer's number holds its table: above any index, below the count of uses.
const TABLE_SHIFT: u32 = 28;

thread_local! {
    /// The table this thread adds to.
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

pub(crate) fn add_pool(pool: Pool) -> u64 {
    let mut pools = POOLS.write().unwrap_or_else(PoisonError::into_inner);
    pools.insert(pool).data().as_ffi()
}

pub(crate) fn pool(id: u64) -> Result<Pool, Failure> {
    let pools = POOLS.read().unwrap_or_else(PoisonError::into_inner);
    pools.get(key(id)).cloned().ok_or_else(|| gone("pool"))
}

pub(crate) fn remove_pool(id: u64) -> Result<Pool, Failure> {
    let mut pools = POOLS.write().unwrap_or_else(PoisonError::into_inner);
    pools.remove(key(id)).ok_or_else(|| gone("pool"))
}

/// Gives the buffer a number: its key, with the table in the place of the index's highest bits.
pub(crate) fn add_buffer(buffer: Buffer) -> u64 {
    let table = MINE.with(|mine| *mine);
    lock(table).insert(buffer).data().as_ffi() | table << TABLE_SHIFT
}

/// Looks at a buffer; the table is locked meanwhile.
pub(crate) fn with_buffer<R>(id: u64, look: impl FnOnce(&Buffer) -> R) -> Result<R, Failure> {
    let (table, key) = place(id);
    lock(table).get(key).map(look).ok_or_else(|| gone("buffer"))
}

pub(crate) fn remove_buffer(id: u64) -> Result<Buffer, Failure> {
    let (table, key) = place(id);
    lock(table).remove(key).ok_or_else(|| gone("buffer"))
}

fn place(id: u64) -> (u64, BufferKey) {
    let table = id >> TABLE_SHIFT & (TABLES - 1);
    (table, key(id & !((TABLES - 1) << TABLE_SHIFT)))
}

fn lock(table: u64) -> MutexGuard<'static, SlotMap<BufferKey, Buffer>> {
    BUFFERS[table as usize].lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key with this number. Numbers of no key are taken for their nearest one by `from_ffi`; here
/// they name nothing.
fn key<K: Key>(id: u64) -> K {
    let nearest = KeyData::from_ffi(id);
    if nearest.as_ffi() == id { nearest.into() } else { K::null() }
}

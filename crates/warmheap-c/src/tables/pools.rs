//! The table of pools.

use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use slotmap::{Key, SlotMap, new_key_type};
use warmheap::Pool;
use warmheap_trace::Recorder;

use super::{gone, key};
use crate::status::Failure;

new_key_type! {
    pub(crate) struct PoolKey;
}

/// A pool, and what records it.
pub(crate) struct OpenPool {
    pool: Pool,
    recorder: Option<Recorder>,
}

/// What tells the handles of pools from others.
const KIND: u64 = 1 << 63;

type Table = SlotMap<PoolKey, OpenPool>;

static POOLS: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

fn read() -> RwLockReadGuard<'static, Table> {
    POOLS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks the table.
pub(crate) fn pools_locked() -> RwLockWriteGuard<'static, Table> {
    POOLS.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn add_pool(pool: Pool) -> u64 {
    pools_locked().insert(OpenPool { pool, recorder: None }).data().as_ffi() ^ KIND
}

/// Returns a pool that this process may use, and what records it.
pub(crate) fn pool_and_recorder(id: u64) -> Result<(Pool, Option<Recorder>), Failure> {
    let pools = read();
    let open = pools.get(key(id ^ KIND)).ok_or_else(|| gone("pool"))?;
    open.pool.process().check()?;
    Ok((open.pool.clone(), open.recorder.clone()))
}

pub(crate) fn pool(id: u64) -> Result<Pool, Failure> {
    pool_and_recorder(id).map(|(pool, _)| pool)
}

/// Sets what records a pool. Returns it if the pool has a recorder already.
pub(crate) fn set_recorder(id: u64, recorder: Recorder) -> Result<Option<Recorder>, Failure> {
    let mut pools = pools_locked();
    let open = pools.get_mut(key(id ^ KIND)).ok_or_else(|| gone("pool"))?;
    if open.recorder.is_some() {
        return Ok(Some(recorder));
    }
    open.recorder = Some(recorder);
    Ok(None)
}

pub(crate) fn take_recorder(id: u64) -> Option<Recorder> {
    pools_locked().get_mut(key(id ^ KIND))?.recorder.take()
}

/// Removes a pool and its recorder.
pub(crate) fn remove_pool(id: u64) -> Result<(Pool, Option<Recorder>), Failure> {
    let mut pools = pools_locked();
    pools.get(key(id ^ KIND)).ok_or_else(|| gone("pool"))?.pool.process().check()?;
    pools.remove(key(id ^ KIND)).map(|open| (open.pool, open.recorder)).ok_or_else(|| gone("pool"))
}

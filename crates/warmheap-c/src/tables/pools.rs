//! The table of pools.

use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use slotmap::{SlotMap, new_key_type};
use warmheap::Pool;
use warmheap_trace::Recorder;

use super::{POOLS, gone, handle, key};
use crate::callback::UserData;
use crate::status::Failure;

new_key_type! {
    pub(crate) struct PoolKey;
}

/// A pool, what records it, and the data of the program's functions that it calls.
pub(crate) struct OpenPool {
    pub(crate) pool: Pool,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) data: Vec<Arc<UserData>>,
}

type Table = SlotMap<PoolKey, OpenPool>;

static OPEN: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

fn read() -> RwLockReadGuard<'static, Table> {
    OPEN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks the table.
pub(crate) fn pools_locked() -> RwLockWriteGuard<'static, Table> {
    OPEN.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn add_pool(pool: Pool) -> u64 {
    handle(POOLS, pools_locked().insert(OpenPool { pool, recorder: None, data: Vec::new() }))
}

/// Returns a pool that this process may use, and what records it.
pub(crate) fn pool_and_recorder(id: u64) -> Result<(Pool, Option<Recorder>), Failure> {
    let pools = read();
    let open = pools.get(key(POOLS, id)).ok_or_else(|| gone("pool"))?;
    open.pool.process().check()?;
    Ok((open.pool.clone(), open.recorder.clone()))
}

pub(crate) fn pool(id: u64) -> Result<Pool, Failure> {
    pool_and_recorder(id).map(|(pool, _)| pool)
}

/// Sets what records a pool. Returns it if the pool has a recorder already.
pub(crate) fn set_recorder(id: u64, recorder: Recorder) -> Result<Option<Recorder>, Failure> {
    let mut pools = pools_locked();
    let open = pools.get_mut(key(POOLS, id)).ok_or_else(|| gone("pool"))?;
    if open.recorder.is_some() {
        return Ok(Some(recorder));
    }
    open.recorder = Some(recorder);
    Ok(None)
}

pub(crate) fn take_recorder(id: u64) -> Option<Recorder> {
    pools_locked().get_mut(key(POOLS, id))?.recorder.take()
}

/// Keeps the data of a function of the program for as long as the pool is open. Makes none if the pool is not.
pub(crate) fn add_data(id: u64, make: impl FnOnce() -> UserData) -> Result<Weak<UserData>, Failure> {
    let mut pools = pools_locked();
    let open = pools.get_mut(key(POOLS, id)).ok_or_else(|| gone("pool"))?;
    let data = Arc::new(make());
    open.data.push(Arc::clone(&data));
    Ok(Arc::downgrade(&data))
}

/// Removes a pool.
pub(crate) fn remove_pool(id: u64) -> Result<OpenPool, Failure> {
    let mut pools = pools_locked();
    pools.get(key(POOLS, id)).ok_or_else(|| gone("pool"))?.pool.process().check()?;
    pools.remove(key(POOLS, id)).ok_or_else(|| gone("pool"))
}

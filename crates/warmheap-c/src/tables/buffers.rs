//! The tables of buffers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use slotmap::{SlotMap, new_key_type};
use warmheap::fork::Process;

use super::held::Held;
use super::{BUFFERS, gone, handle, key, table_of};
use crate::status::Failure;

new_key_type! {
    pub(crate) struct BufferKey;
}

/// A buffer, and whose it is.
pub(crate) struct Entry {
    /// The handle of the pool.
    pub(crate) pool: u64,
    pub(crate) process: Process,
    /// `None` while a call has taken the buffer out.
    held: Option<Held>,
}

impl Entry {
    pub(crate) fn new(held: Held, pool: u64, process: Process) -> Self {
        Self { pool, process, held: Some(held) }
    }

    pub(crate) fn held(&mut self) -> Result<&mut Held, Failure> {
        self.held.as_mut().ok_or_else(in_use)
    }
}

fn in_use() -> Failure {
    Failure::order("another call is growing the buffer; wait for its end")
}

type Table = SlotMap<BufferKey, Entry>;

/// Several tables share the buffers, so that threads seldom wait for one another.
static LIVE: LazyLock<[Mutex<Table>; BUFFERS as usize]> = LazyLock::new(Default::default);

thread_local! {
    /// The table to which this thread adds buffers.
    static MINE: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % BUFFERS
    };
}

/// Locks all tables. No thread holds one table while it waits for another.
pub(crate) fn buffers_locked() -> [MutexGuard<'static, Table>; BUFFERS as usize] {
    std::array::from_fn(|table| lock(table as u64))
}

/// Stores the buffer and returns its handle.
pub(crate) fn add_buffer(entry: Entry) -> u64 {
    let table = MINE.with(|mine| *mine);
    handle(table, lock(table).insert(entry))
}

/// Calls `look` with a buffer, while the buffer's table is locked.
pub(crate) fn with_buffer<R>(
    id: u64,
    look: impl FnOnce(&mut Entry) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let (mut buffers, key) = find(id);
    let entry = buffers.get_mut(key).ok_or_else(|| gone("buffer"))?;
    entry.process.check()?;
    look(entry)
}

/// Removes a buffer for good, if `may` allows it. Also returns what `may` returned.
pub(crate) fn remove_buffer<R>(
    id: u64,
    may: impl FnOnce(&mut Entry) -> Result<R, Failure>,
) -> Result<(Held, R), Failure> {
    let (mut buffers, key) = find(id);
    let entry = buffers.get_mut(key).ok_or_else(|| gone("buffer"))?;
    entry.process.check()?;
    entry.held()?;
    let allowed = may(entry)?;
    let held = buffers.remove(key).and_then(|entry| entry.held).ok_or_else(|| gone("buffer"))?;
    Ok((held, allowed))
}

/// A buffer that a call has taken out of its table. It goes back at the end, whatever happens.
pub(crate) struct Taken {
    id: u64,
    /// The handle of the buffer's pool.
    pub(crate) pool: u64,
    pub(crate) process: Process,
    /// `None` only during the drop.
    held: Option<Held>,
}

/// Takes a buffer out of its table. Its handle is in use meanwhile, and other calls with it fail.
pub(crate) fn take_buffer(id: u64) -> Result<Taken, Failure> {
    with_buffer(id, |entry| {
        let held = Some(entry.held.take().ok_or_else(in_use)?);
        Ok(Taken { id, pool: entry.pool, process: entry.process, held })
    })
}

impl Taken {
    pub(crate) fn held(&mut self) -> Result<&mut Held, Failure> {
        self.held.as_mut().ok_or_else(in_use)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let (mut buffers, key) = find(self.id);
        if let Some(entry) = buffers.get_mut(key) {
            entry.held = self.held.take();
        }
    }
}

/// Locks the table of a handle, and returns the key in it. The handle of another kind is looked for in the
/// first table, where it names nothing.
fn find(id: u64) -> (MutexGuard<'static, Table>, BufferKey) {
    let table = Some(table_of(id)).filter(|table| *table < BUFFERS).unwrap_or_default();
    (lock(table), key(table, id))
}

fn lock(table: u64) -> MutexGuard<'static, Table> {
    LIVE[table as usize].lock().unwrap_or_else(PoisonError::into_inner)
}

//! The buffers that MLX holds, by address. Addresses are spread over shards, so that threads seldom meet.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use rustc_hash::FxBuildHasher;
use warmheap::Buffer;

/// How many shards there are, as a power of two.
const SHARD_BITS: u32 = 6;

/// A shard has cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<HashMap<usize, Buffer, FxBuildHasher>>);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Blocks([Shard; 1 << SHARD_BITS]);

impl Blocks {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Shard::default()))
    }

    pub(crate) fn insert(&self, address: usize, buffer: Buffer) {
        self.lock(address).insert(address, buffer);
    }

    pub(crate) fn take(&self, address: usize) -> Option<Buffer> {
        self.lock(address).remove(&address)
    }

    /// Returns the bytes of the buffer at `address`.
    pub(crate) fn size(&self, address: usize) -> Option<u64> {
        self.lock(address).get(&address).map(Buffer::size)
    }

    /// Returns what [`Self::size`] does, in a child of `fork`, where the thread that holds a lock may not exist.
    /// A buffer behind such a lock counts as ours, of no bytes.
    pub(crate) fn inherited_size(&self, address: usize) -> Option<u64> {
        let shard = match self.shard(address).try_lock() {
            Ok(shard) => shard,
            Err(TryLockError::Poisoned(shard)) => shard.into_inner(),
            Err(TryLockError::WouldBlock) => return Some(0),
        };
        shard.get(&address).map(Buffer::size)
    }

    fn lock(&self, address: usize) -> MutexGuard<'_, HashMap<usize, Buffer, FxBuildHasher>> {
        self.shard(address).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Multiplication spreads addresses, whose low bits are alike.
    fn shard(&self, address: usize) -> &Mutex<HashMap<usize, Buffer, FxBuildHasher>> {
        let spread = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.0[(spread >> (u64::BITS - SHARD_BITS)) as usize].0
    }
}

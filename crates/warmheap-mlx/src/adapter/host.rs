//! What MLX holds of a pool on the host device. Addresses are spread over shards, so that threads seldom meet.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxBuildHasher;
use warmheap::{AllocError, Buffer, CallSite, Pool, Request};

use super::holder::{Holder, Refusal, lock_now, mlx};
use crate::error::InstallError;

/// The alignment of arrays in bytes: a cache line, and what vector instructions like best.
const ALIGN: u64 = 64;
/// How many shards there are, as a power of two.
const SHARD_BITS: u32 = 6;

/// A shard has cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<HashMap<usize, Buffer, FxBuildHasher>>);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Host {
    /// The bytes between what MLX calls a buffer and its memory. MLX's own functions keep the size there. Ours
    /// never use them, so the memory begins where the pool's buffer does.
    header: usize,
    /// Leak reports name this, because MLX does not say which line asked.
    site: CallSite,
    shards: [Shard; 1 << SHARD_BITS],
}

impl Host {
    /// Returns a holder for this pool, which must be able to serve it.
    pub(super) fn new(pool: &Pool, header: usize) -> Result<Self, InstallError> {
        let trial = pool.allocate(Request::new(ALIGN).align(ALIGN))?;
        if trial.host_ptr().is_none() {
            return Err(InstallError::NotHost);
        }
        Ok(Self { header, site: mlx(), shards: std::array::from_fn(|_| Shard::default()) })
    }

    fn lock(&self, address: usize) -> MutexGuard<'_, HashMap<usize, Buffer, FxBuildHasher>> {
        self.shard(address).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Multiplication spreads addresses, whose low bits are alike.
    fn shard(&self, address: usize) -> &Mutex<HashMap<usize, Buffer, FxBuildHasher>> {
        let spread = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(spread >> (u64::BITS - SHARD_BITS)) as usize].0
    }
}

impl Holder for Host {
    fn allocate(&self, pool: &Pool, size: usize) -> Result<(*mut c_void, usize), Refusal> {
        // MLX asks for arrays of no bytes, and frees them.
        let request = Request::new(size.max(1) as u64).align(ALIGN).tag("mlx").call_site(self.site);
        let buffer = match pool.allocate(request) {
            Ok(buffer) => buffer,
            Err(AllocError::Forked(_)) => return Err(Refusal::AskMlx),
            Err(error) => return Err(Refusal::Final(error)),
        };
        let memory = buffer.host_ptr().ok_or(Refusal::AskMlx)?;
        let (address, size) = (memory.as_ptr().wrapping_sub(self.header), buffer.size() as usize);
        self.lock(address as usize).insert(address as usize, buffer);
        Ok((address.cast(), size))
    }

    fn free(&self, address: usize) -> Option<usize> {
        // The lock is released before the buffer goes back.
        let buffer = self.lock(address).remove(&address)?;
        Some(buffer.size() as usize)
    }

    fn size(&self, address: usize) -> Option<usize> {
        self.lock(address).get(&address).map(|buffer| buffer.size() as usize)
    }

    fn inherited_size(&self, address: usize) -> Option<usize> {
        let Some(shard) = lock_now(self.shard(address)) else { return Some(0) };
        shard.get(&address).map(|buffer| buffer.size() as usize)
    }

    fn synchronized(&self) {}
}

//! The memory of one stream.
//!
//! A pool of its own for each stream is what makes reuse right: a range freed here goes to later
//! work of the same stream, which the GPU runs after the work that used it before. It reaches
//! another stream only by way of the device, which is waited for when memory goes back to it.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxBuildHasher;
use warmheap::{AllocError, Buffer, Pool};

/// See the module's essay.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) stream: usize,
    pub(super) pool: Pool,
    live: Mutex<HashMap<u64, Held, FxBuildHasher>>,
}

/// A buffer that PyTorch holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) buffer: Buffer,
    /// Other streams that use it.
    pub(super) guests: Vec<usize>,
}

impl Arena {
    pub(super) fn new(stream: usize, pool: Pool) -> Self {
        Self { stream, pool, live: Mutex::default() }
    }

    /// Memory from the heap alone.
    pub(super) fn try_allocate(&self, size: u64) -> Result<u64, AllocError> {
        self.pool.try_allocate(size).map(|buffer| self.hold(buffer))
    }

    /// Memory by any means.
    pub(super) fn allocate(&self, size: u64) -> Result<u64, AllocError> {
        self.pool.allocate(size).map(|buffer| self.hold(buffer))
    }

    fn hold(&self, buffer: Buffer) -> u64 {
        let address = buffer.address();
        self.live().insert(address, Held { buffer, guests: Vec::new() });
        address
    }

    /// Takes the buffer at `address` out of PyTorch's hands.
    pub(super) fn take(&self, address: u64) -> Option<Held> {
        self.live().remove(&address)
    }

    /// Notes that `stream` uses the buffer at `address`; `false` if it is not one of ours.
    pub(super) fn record(&self, address: u64, stream: usize) -> bool {
        let mut live = self.live();
        let Some(held) = live.get_mut(&address) else {
            return false;
        };
        if stream != self.stream && !held.guests.contains(&stream) {
            held.guests.push(stream);
        }
        true
    }

    fn live(&self) -> MutexGuard<'_, HashMap<u64, Held, FxBuildHasher>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

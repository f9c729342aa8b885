//! The buffers that PyTorch holds, by address.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxBuildHasher;
use warmheap::Buffer;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<HashMap<u64, Held, FxBuildHasher>>);

/// A buffer, the stream it was allocated for, and the other streams that use it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) buffer: Buffer,
    pub(super) stream: usize,
    pub(super) guests: Vec<usize>,
}

impl Live {
    /// Keeps a buffer that was allocated for `stream`, and returns its address.
    pub(super) fn hold(&self, buffer: Buffer, stream: usize) -> u64 {
        let address = buffer.device_address();
        self.lock().insert(address, Held { buffer, stream, guests: Vec::new() });
        address
    }

    /// Removes and returns the buffer at `address`.
    pub(super) fn take(&self, address: u64) -> Option<Held> {
        self.lock().remove(&address)
    }

    /// Notes that `stream` uses the buffer at `address`. Returns `false` if there is none.
    pub(super) fn record(&self, address: u64, stream: usize) -> bool {
        let mut live = self.lock();
        let Some(held) = live.get_mut(&address) else {
            return false;
        };
        if stream != held.stream && !held.guests.contains(&stream) {
            held.guests.push(stream);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Held, FxBuildHasher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

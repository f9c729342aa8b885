//! The pools of one GPU, one for each stream.
//!
//! Each stream has its own pool, because that makes reuse correct. A span freed here serves later work of the
//! same stream, and the GPU runs that work after the work that used the span before. Memory reaches another
//! stream only through the device, and the device is synchronized before memory goes back to it.
//!
//! Streams are few and are never removed, so threads read the list without a lock.
#![forbid(unsafe_code)]

use std::iter;
use std::sync::{Mutex, OnceLock, PoisonError};

use warmheap::{Pool, StartError};

/// The pool of one stream.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) stream: usize,
    pub(super) pool: Pool,
    next: OnceLock<Box<Self>>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Arenas {
    first: OnceLock<Box<Arena>>,
    /// The thread that adds a pool holds this lock.
    adding: Mutex<()>,
}

impl Arenas {
    /// Returns the pools that exist now, in the order of their streams' first use.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arena> {
        iter::successors(self.first.get(), |arena| arena.next.get()).map(|arena| &**arena)
    }

    /// Returns the pool of `stream`, which `make` makes at the stream's first use.
    pub(super) fn of(
        &self,
        stream: usize,
        make: impl FnOnce() -> Result<Pool, StartError>,
    ) -> Result<&Pool, StartError> {
        let find = || self.iter().find(|arena| arena.stream == stream);
        if let Some(known) = find() {
            return Ok(&known.pool);
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = find() {
            return Ok(&known.pool);
        }
        let end = self.iter().last().map_or(&self.first, |last| &last.next);
        let arena = Box::new(Arena { stream, pool: make()?, next: OnceLock::new() });
        Ok(&end.get_or_init(|| arena).pool)
    }
}

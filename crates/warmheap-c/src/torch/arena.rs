//! The pools of a GPU, one for each stream.
//!
//! A pool of its own for each stream is what makes reuse right: a range freed here goes to later
//! work of the same stream, which the GPU runs after the work that used it before. It reaches
//! another stream only by way of the device, which is waited for when memory goes back to it.
//!
//! Streams are few and never leave, so they stand in a list that is read without a lock.
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

/// See the module's essay.
#[derive(Debug, Default)]
pub(super) struct Arenas {
    first: OnceLock<Box<Arena>>,
    /// Held by whoever adds one.
    adding: Mutex<()>,
}

impl Arenas {
    /// Those that exist by now, in the order of their streams' first use.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arena> {
        iter::successors(self.first.get(), |arena| arena.next.get()).map(|arena| &**arena)
    }

    /// The pool of `stream`; `make` makes one at its first use.
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

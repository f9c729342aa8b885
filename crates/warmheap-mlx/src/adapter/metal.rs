//! What MLX holds of a pool on Metal, where it calls an MTLBuffer a buffer.
//!
//! MLX orders the GPU's work by the identity of MTLBuffers, and may free one while the GPU writes to it. So bytes
//! that MLX freed serve it again only as the same object. They go back to the pool, for other objects, once the
//! program says that MLX has synchronised. Until then this is what MLX's own cache of buffers is, with the same rule for sizes.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::mem;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxBuildHasher;
use warmheap::metal::{AsMetal, OwnBuffer};
use warmheap::{Buffer, Pool, Request};

use super::holder::{Holder, Refusal, lock_now, mlx};
use crate::error::InstallError;

/// The pages of Apple's systems, to which MLX rounds.
const PAGE: usize = 16 << 10;
/// Small sizes are multiples of this.
const STEP: usize = 256;

/// An MTLBuffer that is a buffer of the pool.
#[derive(Debug)]
struct Object {
    mtl: OwnBuffer,
    buffer: Buffer,
}

#[derive(Debug, Default)]
struct Objects {
    held: HashMap<usize, Object, FxBuildHasher>,
    /// What MLX freed since it last synchronised, by size.
    freed: BTreeMap<usize, Vec<Object>>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Metal(Mutex<Objects>);

impl Object {
    fn new(pool: &Pool, size: usize) -> Result<Self, Refusal> {
        // MLX's own allocator knows how to fail, and may find memory that the pool may not use.
        let request = Request::new(size as u64).tag("mlx").call_site(mlx());
        let buffer = pool.allocate(request).map_err(|_| Refusal::AskMlx)?;
        let mtl = buffer.own_mtl_buffer().map_err(|_| Refusal::AskMlx)?;
        Ok(Self { mtl, buffer })
    }

    fn address(&self) -> usize {
        ptr::from_ref(&*self.mtl).addr()
    }

    fn size(&self) -> usize {
        self.buffer.size() as usize
    }
}

impl Metal {
    /// Returns a holder for this pool, which must be able to serve it.
    pub(super) fn new(pool: &Pool) -> Result<Self, InstallError> {
        let trial = pool.allocate(Request::new(PAGE as u64))?;
        if trial.host_ptr().is_none() || trial.own_mtl_buffer().is_err() {
            return Err(InstallError::NotMetal);
        }
        Ok(Self::default())
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects {
    /// Takes the smallest freed object that has `size` bytes and does not waste much more than it gives.
    fn reuse(&mut self, size: usize) -> Option<Object> {
        let most = size.saturating_mul(2).min(size.saturating_add(2 * PAGE));
        let (&found, objects) = self.freed.range_mut(size..most).next()?;
        let object = objects.pop();
        if objects.is_empty() {
            self.freed.remove(&found);
        }
        object
    }
}

impl Holder for Metal {
    fn allocate(&self, pool: &Pool, size: usize) -> Result<(*mut c_void, usize), Refusal> {
        if size == 0 {
            return Ok((ptr::null_mut(), 0)); // as MLX's own allocator
        }
        let step = if size > PAGE { PAGE } else { STEP };
        let size = size.checked_next_multiple_of(step).ok_or(Refusal::AskMlx)?;
        let reused = self.lock().reuse(size);
        let object = match reused {
            Some(object) => object,
            None => Object::new(pool, size)?,
        };
        let (mtl, address, size) = (ptr::from_ref(&*object.mtl), object.address(), object.size());
        self.lock().held.insert(address, object);
        Ok((mtl.cast_mut().cast(), size))
    }

    fn free(&self, address: usize) -> Option<usize> {
        let mut objects = self.lock();
        let object = objects.held.remove(&address)?;
        let size = object.size();
        objects.freed.entry(size).or_default().push(object);
        Some(size)
    }

    fn size(&self, address: usize) -> Option<usize> {
        self.lock().held.get(&address).map(Object::size)
    }

    fn inherited_size(&self, address: usize) -> Option<usize> {
        let Some(objects) = lock_now(&self.0) else { return Some(0) };
        objects.held.get(&address).map(Object::size)
    }

    fn synchronized(&self) {
        // The lock is released before Metal and the pool are called.
        let freed = mem::take(&mut self.lock().freed);
        drop(freed);
    }
}

//! rlsf: a TLSF allocator. It keeps its headers in the memory it manages, and handles several regions itself.

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{ALIGNMENT, Contestant, HEAP, MIB};

/// A TLSF with 32 levels, more than any request needs, and 32 lists for each level.
type Engine = rlsf::Tlsf<'static, u32, u32, 32, 32>;

/// One TLSF over regions of [`HEAP`] bytes. A region for a larger request is as large as that needs.
pub(crate) struct Tlsf(Mutex<State>);

struct State {
    engine: Engine,
    /// The managed memory. Only its headers are touched, so most of it is address space without memory.
    regions: Vec<Box<[MaybeUninit<u8>]>>,
}

// SAFETY: the engine's pointers point into `regions`, which moves with the engine.
unsafe impl Send for State {}

/// The address of an allocation.
pub(crate) struct Held(NonNull<u8>);

// SAFETY: this is only an address. The memory behind it is not touched.
unsafe impl Send for Held {}

impl Tlsf {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { engine: Engine::new(), regions: Vec::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    #[cold]
    fn grow(&mut self, size: u64) {
        // The search rounds the request up to the next list, and headers and alignment take some bytes. A
        // sixteenth and one MiB are enough for both.
        let bytes = if size + MIB > HEAP { size + size / 16 + MIB } else { HEAP };
        let mut region = Box::new_uninit_slice(bytes as usize);
        let start = NonNull::from(&mut *region).cast();
        // SAFETY: the region lives as long as the engine, and only the engine uses it.
        unsafe { self.engine.insert_free_block_ptr(NonNull::slice_from_raw_parts(start, region.len())) };
        self.regions.push(region);
    }
}

impl Contestant for Tlsf {
    type Held = Held;

    #[inline]
    fn allocate(&self, size: u64) -> Option<Held> {
        let layout = Layout::from_size_align(size as usize, ALIGNMENT as usize).ok()?;
        let mut state = self.lock();
        if let Some(address) = state.engine.allocate(layout) {
            return Some(Held(address));
        }
        state.grow(size);
        state.engine.allocate(layout).map(Held)
    }

    #[inline]
    fn free(&self, slot: &mut Option<Held>) {
        if let Some(Held(address)) = slot.take() {
            // SAFETY: the address came from this engine at this alignment, and is freed once.
            unsafe { self.lock().engine.deallocate(address, ALIGNMENT as usize) };
        }
    }

    fn reserved(&self) -> Option<u64> {
        Some(self.lock().regions.iter().map(|region| region.len() as u64).sum())
    }
}

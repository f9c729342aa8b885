//! General-purpose allocators, called directly.
//!
//! They hand out the address space of the process, and the system manages its pages. So the memory that they
//! hold cannot be compared with device memory.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

use super::{ALIGNMENT, Contestant};

pub(crate) struct General<A>(pub(crate) A);

/// An allocation and its layout.
pub(crate) struct Held {
    address: NonNull<u8>,
    layout: Layout,
}

// SAFETY: this is only an address. The memory behind it is not touched.
unsafe impl Send for Held {}

impl<A: GlobalAlloc + Sync> Contestant for General<A> {
    type Held = Held;

    #[inline]
    fn allocate(&self, size: u64) -> Option<Held> {
        let layout = Layout::from_size_align(size as usize, ALIGNMENT as usize).ok()?;
        // SAFETY: programs never ask for zero bytes.
        let address = NonNull::new(unsafe { self.0.alloc(layout) })?;
        Some(Held { address, layout })
    }

    #[inline]
    fn free(&self, slot: &mut Option<Held>) {
        if let Some(Held { address, layout }) = slot.take() {
            // SAFETY: the memory was allocated above with this layout, and is freed once.
            unsafe { self.0.dealloc(address.as_ptr(), layout) };
        }
    }

    fn reserved(&self) -> Option<u64> {
        None
    }
}

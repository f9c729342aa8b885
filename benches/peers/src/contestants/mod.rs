//! The contestants, in the form that a program needs to share one allocator between threads.
//!
//! Allocators of offsets are behind a mutex over a list of heaps ([`heaps`]). General allocators are called
//! directly, not as the program's global allocator. The pool is used as a whole.

mod engines;
mod fixed_heaps;
mod gpu;
mod heaps;
mod pool;
mod system;
mod tlsf;

pub(crate) use engines::{BestFit, OffsetEngine, RangeEngine, VirtualBlockEngine};
pub(crate) use fixed_heaps::fixed_heaps;
pub(crate) use heaps::{Heaps, OneRange};
pub(crate) use pool::{HeapsOnly, discrete, elastic, fixed, untracked};

use std::num::NonZero;

use warmheap::Buffer;

use crate::race::Runner;

/// The alignment of device memory.
pub(crate) const ALIGNMENT: u64 = 256;
pub(crate) const MIB: u64 = 1 << 20;
/// The heap size of contestants that do not choose their own.
pub(crate) const HEAP: u64 = 256 * MIB;

/// An allocator that threads share.
pub(crate) trait Contestant: Sync {
    /// The data that is needed to free an allocation.
    type Held: Send;

    /// Returns memory for `size` bytes at [`ALIGNMENT`], or `None`.
    fn allocate(&self, size: u64) -> Option<Self::Held>;

    /// Frees the allocation in the slot, if there is one.
    fn free(&self, slot: &mut Option<Self::Held>);

    /// Returns the bytes held from the device, now or at the peak so far. Returns `None` for an allocator
    /// without a device.
    fn reserved(&self) -> Option<u64>;
}

/// The loop without an allocator. It shows the part of every figure that is not the allocator's. Its
/// handles are as large as a buffer of the pool, because the loop also has to store buffers.
struct Nothing;

impl Contestant for Nothing {
    type Held = [NonZero<u64>; size_of::<Buffer>() / 8];

    #[inline(always)]
    fn allocate(&self, size: u64) -> Option<Self::Held> {
        Some([NonZero::new(size)?; size_of::<Buffer>() / 8])
    }

    #[inline(always)]
    fn free(&self, slot: &mut Option<Self::Held>) {
        *slot = None;
    }

    fn reserved(&self) -> Option<u64> {
        None
    }
}

pub(crate) fn runner<C: Contestant + 'static>(name: &'static str, contestant: C) -> Runner {
    Runner { name, entrant: Box::new(contestant) }
}

/// Returns all contestants, newly created.
pub(crate) fn all() -> Vec<Runner> {
    let mut runners = vec![
        runner("warmheap, elastic", elastic()),
        runner("warmheap, discrete", discrete()),
        runner("offset-allocator", Heaps::<OffsetEngine>::growing()),
        runner("range-alloc", Heaps::<RangeEngine>::growing()),
        runner("rlsf", tlsf::Tlsf::new()),
        runner("VMA virtual block", Heaps::<VirtualBlockEngine>::growing()),
        runner("BTreeMap best fit", Heaps::<BestFit>::growing()),
        runner("mimalloc", system::General(mimalloc::MiMalloc)),
        runner("jemalloc", system::General(tikv_jemallocator::Jemalloc)),
    ];
    if let Ok(gpu) = gpu::GpuAllocator::new() {
        runners.push(runner("gpu-allocator", gpu));
    }
    runners.push(the_loop());
    runners
}

/// The name of [`the_loop`].
pub(crate) const LOOP: &str = "the loop alone";

/// Returns the timed loop without an allocator.
pub(crate) fn the_loop() -> Runner {
    runner(LOOP, Nothing)
}

/// Returns the contestants that are missing from [`all`] on this machine, each with the reason.
pub(crate) fn absent() -> Vec<String> {
    gpu::GpuAllocator::new()
        .err()
        .map(|why| format!("gpu-allocator did not run: {why}"))
        .into_iter()
        .collect()
}

//! The contestants, each in the form a program needs that shares one allocator between threads.
//!
//! Allocators of offsets sit behind a mutex over a list of heaps ([`heaps`]); general allocators
//! are called directly, not through the program's own; the pool is used whole.

mod engines;
mod gpu;
mod heaps;
mod pool;
mod system;
mod tlsf;

pub(crate) use engines::{BestFit, OffsetEngine, RangeEngine, VirtualBlockEngine};
pub(crate) use heaps::{Heaps, OneRange};
pub(crate) use pool::{HeapsOnly, discrete, elastic, fixed, untracked};

use std::num::NonZero;

use warmheap::Buffer;

use crate::race::Runner;

/// What device memory is aligned to.
pub(crate) const ALIGNMENT: u64 = 256;
pub(crate) const MIB: u64 = 1 << 20;
/// Heaps of those that do not choose their own.
pub(crate) const HEAP: u64 = 256 * MIB;

/// An allocator that threads share.
pub(crate) trait Contestant: Sync {
    /// What is needed to free an allocation.
    type Held: Send;

    /// Memory for `size` bytes at [`ALIGNMENT`], or `None`.
    fn allocate(&self, size: u64) -> Option<Self::Held>;

    /// Frees what is in the slot, if anything.
    fn free(&self, slot: &mut Option<Self::Held>);

    /// Bytes held from the device, now or at most so far; `None` if there is no such thing.
    fn reserved(&self) -> Option<u64>;
}

/// The loop without an allocator: what is left of every figure when the allocator costs nothing. What it holds
/// is as large as a buffer of the pool, since buffers must be put somewhere, too.
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

/// Everyone, fresh.
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

/// What the loop that is timed takes by itself.
pub(crate) fn the_loop() -> Runner {
    runner(LOOP, Nothing)
}

/// Who is not among [`all`] here, and why.
pub(crate) fn absent() -> Vec<String> {
    gpu::GpuAllocator::new()
        .err()
        .map(|why| format!("gpu-allocator did not run: {why}"))
        .into_iter()
        .collect()
}

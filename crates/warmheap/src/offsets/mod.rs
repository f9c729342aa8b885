//! The books of heaps: which range of their addresses belongs to which block.
//!
//! This layer is pure arithmetic over address ranges, counted in granules. Each heap is a *segment* of the
//! books. The layer owns the books, which lie outside the memory they describe because the CPU may not be
//! able to reach that. It makes no device calls, takes no locks, reads no clock, and does not decide when to
//! grow or trim. A [`RangeAllocator`] is for one
//! thread at a time; the pool puts one behind each arena's lock.
//!
//! Every granule is in exactly one block. A block is *used*, *free*, or *decommitted*: addresses with no
//! memory behind them. Neighbouring free blocks are always merged, and so are neighbouring decommitted ones.
//! So memory that is committed next to a free block extends that block in place. The *reserved tail* of a
//! used block is decommitted space behind it into which that block alone grows.
#![forbid(unsafe_code)]

mod allocator;
mod bins;
mod boundary;
mod commit;
#[cfg(test)]
mod oracle;
mod resize;
pub(crate) mod segments;

pub(crate) use allocator::{Levels, Placed, RangeAllocator};
pub(crate) use commit::PageRun;

/// No block.
pub(crate) const NONE: u32 = u32::MAX;

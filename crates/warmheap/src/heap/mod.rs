//! The heap engine: which range of a heap is whose.
//!
//! Pure arithmetic over one address range, counted in granules. It owns the books (out of band:
//! device memory cannot hold headers) and nothing else: no device calls, no locks, no clocks, no
//! policy about when to grow or trim. A [`Space`] is single-threaded; the pool puts one behind
//! each heap's lock.
//!
//! Every granule is in exactly one block, and a block is *used*, *free*, or *void*: address space
//! with no memory behind it yet (or no longer). Neighbouring free blocks are always merged, and so
//! are neighbouring voids, so that committing memory next to a free block extends it in place. A
//! void may be *kept* for the used block before it, which grows into it.
#![forbid(unsafe_code)]

mod bins;
mod blocks;
mod extend;
mod forward;
#[cfg(test)]
mod oracle;
mod space;
mod void;

pub(crate) use space::{Levels, Placed, Space};
pub(crate) use void::Span;

/// No block.
pub(crate) const NONE: u32 = u32::MAX;

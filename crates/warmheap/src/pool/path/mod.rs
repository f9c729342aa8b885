//! The ways of a request and of a freed buffer: the hit, the miss, the slow path, the free, and compaction.
//!
//! The folder owns the order of the steps. It never keeps state of its own: that belongs to the parts below.

pub(crate) mod allocate;
pub(crate) mod compact;
pub(crate) mod fallback;
pub(crate) mod free;
pub(crate) mod hit;
pub(crate) mod slow;

//! The ways of a request and of a buffer that comes back: the hit, the miss, the slow path, the free.

pub(crate) mod allocate;
pub(crate) mod compact;
pub(crate) mod fallback;
pub(crate) mod free;
pub(crate) mod hit;
pub(crate) mod slow;

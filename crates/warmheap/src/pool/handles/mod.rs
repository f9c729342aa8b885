//! What callers hold beside the pool and its buffers: queues, movable buffers, buffers that grow.
//!
//! The folder owns these handles. It never keeps state of the pool.

pub(crate) mod movable;
pub(crate) mod queue;
pub(crate) mod resize;

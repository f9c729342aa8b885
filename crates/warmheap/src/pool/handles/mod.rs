//! What callers hold beside the pool and its buffers: queues, movable buffers, buffers that grow.

pub(crate) mod movable;
pub(crate) mod queue;
pub(crate) mod resize;

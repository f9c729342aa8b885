//! The methods of pools, buffers and queues that Python sees. Arguments go in, and exceptions come out.

mod buffer;
mod compaction;
pub(crate) mod movable;
mod pool;
pub(crate) mod pressure;
pub(crate) mod queue;
mod recording;
mod request;
pub(crate) mod ring;
mod stream;
pub(crate) mod transfers;

//! The methods that Python sees, of pools, buffers and queues: arguments in, exceptions out.

mod buffer;
mod pool;
pub(crate) mod pressure;
pub(crate) mod queue;
mod request;
mod stream;

//! What the objects of pools and buffers hold, behind their locks. Their methods are in `classes`.

mod buffer;
mod callbacks;
mod movable;
mod open;
mod pool;

pub(crate) use buffer::BufferBase;
pub(crate) use movable::{HeldMovable, Movable, Unusable};
pub(crate) use open::{Held, leaks, warm};
pub(crate) use pool::{MemoryPool, argument as pool_argument, open_pools};

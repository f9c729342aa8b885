//! Heaps, the spans cut from them, and buffers straight from the device. These modules own the table of
//! arenas, the lock of each arena and the allocation records. They must never create or destroy device memory
//! for a heap, nor decide when the pool grows or shrinks.

pub(crate) mod arena;
pub(crate) mod arena_guard;
pub(crate) mod fallback;
pub(crate) mod fit_index;
pub(crate) mod records;
pub(crate) mod span;
pub(crate) mod table;
pub(crate) mod thread_owned;

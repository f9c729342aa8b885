//! Heaps, the spans cut from them, and buffers straight from the device. These modules own the table of
//! heaps, the lock of each heap and the allocation records. They must never create or destroy device memory
//! for a heap, nor decide when the pool grows or shrinks.

pub(crate) mod fallback;
pub(crate) mod fit_index;
pub(crate) mod records;
pub(crate) mod slot;
pub(crate) mod span;
pub(crate) mod table;
pub(crate) mod thread_owned;

//! Heaps, the spans cut from them, and buffers straight from the device.

pub(crate) mod fallback;
pub(crate) mod fit_index;
pub(crate) mod records;
pub(crate) mod slot;
pub(crate) mod span;
pub(crate) mod table;
pub(crate) mod thread_owned;

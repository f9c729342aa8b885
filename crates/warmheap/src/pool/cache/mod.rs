//! What each thread keeps of a pool: its magazines, its counters and its thread state, and the depot between
//! threads. These modules own the cached spans. They must never call a device, or lock a heap before a thread
//! state ends.

pub(crate) mod depot;
pub(crate) mod size_class;
pub(crate) mod thread_cache;
pub(crate) mod thread_state;

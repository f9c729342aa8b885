//! What each thread keeps: its magazines, its counters, and the depot between threads.

pub(crate) mod depot;
pub(crate) mod size_class;
pub(crate) mod thread_cache;
pub(crate) mod thread_state;

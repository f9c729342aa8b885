//! What the pool does by itself: its thread, and memory that decays.

pub(crate) mod decay;
pub(crate) mod thread;

//! What the pool does by itself: its thread, and decay.
//!
//! The folder owns when that happens. It never keeps a pool alive.

pub(crate) mod decay;
pub(crate) mod thread;

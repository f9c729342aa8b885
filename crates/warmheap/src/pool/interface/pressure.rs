//! Why the program is told that memory is short.
#![forbid(unsafe_code)]

/// Why a callback of [`Pool::on_pressure`] is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pressure {
    /// More is held from the device than a soft limit says. Everything that no buffer uses has been
    /// given back before.
    SoftLimit {
        /// Bytes held.
        reserved: u64,
        /// Heaps and fallback buffers held.
        objects: u64,
    },
    /// A request is about to fail: neither heaps nor the device can serve it. It is tried once more
    /// after the callbacks.
    Exhausted {
        /// Bytes asked for.
        requested: u64,
    },
}

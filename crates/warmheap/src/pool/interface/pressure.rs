//! Why the pool tells the program that memory is short. This module must never free memory itself.
#![forbid(unsafe_code)]

/// Why the pool calls a callback of [`Pool::on_pressure`](crate::Pool::on_pressure).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pressure {
    /// The pool holds more from the device than a soft limit says. It has already given back everything that
    /// no buffer uses.
    SoftLimit {
        /// The bytes held.
        reserved: u64,
        /// The heaps and fallback buffers held.
        objects: u64,
    },
    /// A request is about to fail, because neither heaps nor the device can serve it. The pool tries it once
    /// more after the callbacks.
    Exhausted {
        /// The bytes in the request.
        requested: u64,
    },
}

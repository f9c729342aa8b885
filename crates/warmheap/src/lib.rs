//! Warmheap: pooled GPU memory for inference engines.
//!
//! An engine that asks its driver for memory pays microseconds a call and may stall the GPU on
//! each free. Warmheap creates heaps at start-up, warms them, and serves requests from them in
//! nanoseconds; when they do not suffice it falls back to the device, counts it, and says what to
//! change.
//!
//! Start at [`Pool`]. The layers, mechanism below and policy above:
//!
//! ```text
//! config ─> pool ─> offsets (the books of a heap)
//!             └───> device (host, sim, metal, cuda)
//! stats  <─ pool        advice <─ stats, config
//! trace: record, read and replay what pools are asked for (feature `trace`)
//! ```
#![deny(unsafe_code)]

pub mod advice;
pub mod config;
pub mod device;
#[cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]
pub mod metal;
mod offsets;
mod pool;
pub mod stats;
mod sync;
#[cfg(feature = "trace")]
pub mod trace;

pub use config::PoolConfig;
pub use pool::{
    AllocError, Boxed, Buffer, CompactionBudget, CompactionReport, Leak, LeakReport, Movable, OutOfMemory,
    Pinned, Placement, Pool, PoolQueue, Pressure, QuotaExceeded, Request, Site, StartError, Tag, Ticket,
};
pub use stats::Statistics;

/// The samples of the documents compile and run with the doc tests.
#[cfg(all(doctest, feature = "yaml"))]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../../docs/configuration.md")]
#[doc = include_str!("../../../docs/memory-in-flight.md")]
#[doc = include_str!("../../../docs/growing.md")]
#[doc = include_str!("../../../docs/giving-back.md")]
struct Documents;

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
//! ```
//!
//! | feature | what it adds |
//! |---|---|
//! | `metal` (on) | MTLHeaps on Apple systems; nothing elsewhere |
//! | `cuda` | NVIDIA GPUs; the driver is loaded at run time |
//! | `yaml` | settings from and to YAML, and proposals for misspelt names |
//! | `serde` | statistics, findings and settings as JSON |
//! | `advice` | grades, findings and settings that would help |
//!
//! Two crates stand on top: `warmheap-trace` records, reads and replays what pools are asked for;
//! `warmheap-testing` checks devices and pools.
#![deny(unsafe_code)]

#[cfg(feature = "advice")]
pub mod advice;
pub mod config;
pub mod device;
#[cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]
pub mod metal;
mod offsets;
mod pool;
pub mod stats;
mod sync;

pub use config::PoolConfig;
pub use pool::{
    AllocError, Boxed, Buffer, CompactionBudget, CompactionReport, Leak, LeakReport, Movable, OutOfMemory,
    Pinned, Placement, Pool, PoolQueue, Pressure, QuotaExceeded, Request, Site, StartError, Tag, Ticket,
};
pub use stats::Statistics;

/// The samples of the documents compile and run with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../../docs/configuration.md")]
#[doc = include_str!("../../../docs/memory-in-flight.md")]
#[doc = include_str!("../../../docs/growing.md")]
#[doc = include_str!("../../../docs/giving-back.md")]
struct Documents;

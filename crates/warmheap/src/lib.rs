//! Warmheap: pooled GPU memory for inference engines.
//!
//! A call to the GPU driver for memory takes microseconds, and a free may stall the GPU. Warmheap creates
//! heaps at start-up, warms them, and serves requests from them in nanoseconds. If the heaps have no room,
//! the device serves the request. The pool counts such fallbacks, and its advice says what to change.
//!
//! ```
//! use std::sync::Arc;
//! use warmheap::config::{MIB, PoolConfig};
//! use warmheap::device::host::HostDevice;
//! use warmheap::{Pool, Request};
//!
//! let config = PoolConfig::default().with_heap_size(8 * MIB).with_num_heaps(2).with_warmup_sizes([4 * MIB]);
//! let pool = Pool::new(Arc::new(HostDevice::new()), config)?;
//! let cache = pool.allocate(Request::new(MIB).zeroed().tag("kv-cache"))?;
//! drop(cache); // its memory serves the next request
//! assert_eq!(pool.statistics().hit_rate, 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | Module | What it has |
//! |---|---|
//! | [`Pool`] and the other items of this page | pools, requests, buffers, errors and reports |
//! | [`config`] | the settings of a pool, from code, files and variables |
//! | [`device`] | the sources of memory, and queues of their work |
//! | [`stats`] | the figures of a pool, as a struct, JSON and Prometheus text |
//! | `advice` | grades, findings and recommended settings |
//! | [`fork`] | what happens to pools in the children of a process |
//! | `metal` | the pool on Apple GPUs |
//!
//! These are the layers, with mechanism below and policy above:
//!
//! ```text
//! config ─> pool ─> offsets (the metadata of a heap)
//!             └───> device (host, sim, metal, cuda)
//! stats  <─ pool        advice <─ stats, config
//! ```
//!
//! | feature | what it adds |
//! |---|---|
//! | `metal` (default) | MTLHeaps on Apple systems; nothing elsewhere |
//! | `cuda` | NVIDIA GPUs; the driver is loaded at run time |
//! | `yaml` | reading settings from YAML and writing them; proposals for misspelt names |
//! | `serde` | statistics, findings and settings as JSON |
//! | `advice` | grades, findings and settings that would help |
//!
//! Two more crates build on this one. `warmheap-trace` records, reads and replays the allocations of
//! programs. `warmheap-testing` checks devices and pools.
#![deny(unsafe_code)]

#[cfg(feature = "advice")]
pub mod advice;
pub mod config;
pub mod device;
pub mod fork;
#[cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]
pub mod metal;
mod offsets;
mod pool;
mod setters;
pub mod stats;
mod sync;

pub use config::PoolConfig;
pub use pool::{
    AllocError, Buffer, BufferMemory, CallSite, CannotGrow, CompactionBudget, CompactionReport,
    DeviceFailure, Leak, LeakReport, MovableBuffer, OutOfMemory, PinnedBuffer, Pool, PoolQueue, Pressure,
    QuotaExceeded, Request, StartError, Tag, Ticket,
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

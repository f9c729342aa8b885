//! Warmheap: pooled GPU memory for inference engines.

pub mod config;
pub mod device;
pub mod stats;

pub use config::PoolConfig;
pub use stats::Statistics;

//! A double of the CUDA driver: the functions Warmheap calls, over host memory.
//!
//! It is loaded in place of the driver and keeps the rules the driver documents: granules, mapping
//! before access, whole mappings to unmap, a current context, no unmapping under work in flight.
//! A broken rule answers as the driver would and is written down, so that a test can insist there
//! was none. Any call can be made to fail at its n-th use. It must never do more than the driver
//! promises: memory without access faults, and work on a held stream does not run.
//!
//! Tests use [`Double`], which loads the shared library this crate also builds.

mod contexts;
mod memory;
mod state;
mod steering;
mod streams;
mod virtual_memory;

pub use steering::{Double, library};

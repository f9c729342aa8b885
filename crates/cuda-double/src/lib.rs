//! A double of the CUDA driver: the functions that Warmheap calls, on host memory.
//!
//! It is loaded in place of the driver and enforces the rules that the driver documents: whole granules,
//! mapping before access, unmapping of whole mappings only, a current context, no unmapping while work is
//! in flight. A call that breaks a rule returns the driver's error, and is recorded, so that a test can
//! check that none did. A test can make any call fail at its n-th use. The double must never do more
//! than the driver promises: access to memory without access rights faults, and work on a held stream does
//! not run.
//!
//! Tests use [`Double`], which loads the shared library that this crate also builds.

mod contexts;
mod memory;
mod state;
mod steering;
mod streams;
mod virtual_memory;

pub use steering::{Double, library};

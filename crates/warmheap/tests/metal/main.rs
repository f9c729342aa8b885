//! The Metal backend, on a real GPU on Apple systems and on the double of Metal on Linux
//! (`scripts/metal-on-linux.sh`). `faults`, `held` and `order` have the tests that only the double can run.
#![cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]

#[cfg(metal_double)]
mod faults;
#[cfg(metal_double)]
mod held;
mod memory;
#[cfg(metal_double)]
mod order;
mod pool;
mod queues;
mod residency;
mod retire;
mod suites;
mod support;

//! The Metal backend, on a real GPU on Apple systems and against the double on Linux
//! (`scripts/metal-on-linux.sh`). What only the double can show is in `faults` and `held`.
#![cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]

#[cfg(metal_double)]
mod faults;
#[cfg(metal_double)]
mod held;
mod memory;
mod pool;
mod queues;
mod residency;
mod retire;
mod suites;
mod support;

//! Runs a small decode loop on the GPU and compares it with the CPU. Every buffer comes from the pool.
//!
//! Each step runs a toy layer: `tanh` of a matrix times the state. It appends the state to a cache that
//! grows by a token, and attends over the cache. The kernels are compiled from source at run time. The
//! example needs a Mac: `cargo run --release --example metal_decode`.

#[cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]
mod gpu;
#[cfg_attr(not(all(feature = "metal", any(target_vendor = "apple", metal_double))), allow(dead_code))]
mod model;

#[cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    gpu::run()
}

#[cfg(not(all(feature = "metal", any(target_vendor = "apple", metal_double))))]
fn main() {
    eprintln!("this example needs Metal: run it on a Mac");
}

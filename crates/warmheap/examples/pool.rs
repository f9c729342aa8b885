//! A pool in ten lines: `cargo run --example pool`

use std::sync::Arc;

use warmheap::config::MIB;
use warmheap::device::host::HostDevice;
use warmheap::{Pool, PoolConfig, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config =
        PoolConfig::default().with_heap_size(64 * MIB).with_num_heaps(2).with_warmup_sizes([64 * MIB]);
    let pool = Pool::new(Arc::new(HostDevice::new()), config)?;

    let weights = pool.allocate(Request::new(24 * MIB).tag("weights"))?;
    let scratch = pool.allocate(Request::new(4096).align(4096).zeroed())?;
    println!(
        "{} bytes at {:#x}, CPU pointer {:?}",
        scratch.size(),
        scratch.device_address(),
        scratch.host_ptr()
    );
    drop(scratch); // its memory serves the next request

    println!("{} MiB of weights; hit rate {}", weights.size() / MIB, pool.statistics().hit_rate);
    Ok(())
}

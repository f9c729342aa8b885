//! Prints how key-value caches grow to 32,768 tokens each: on two devices whose heaps can grow in place,
//! and on one whose heaps cannot.

mod caches;

use std::sync::Arc;

use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;
use warmheap::{Pool, PoolConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const MIB: f64 = (1 << 20) as f64;
    const BYTES_PER_TOKEN: u64 = 12 << 10;
    let devices: [(&str, Arc<dyn Device>); 3] = [
        ("sim, elastic", Arc::new(SimDevice::new())),
        ("host", Arc::new(HostDevice::new())),
        ("sim, discrete", Arc::new(SimDevice::new().discrete())),
    ];
    println!(
        "| Device | Caches | KiB per token | Room asked for | Steps | Without a copy | Live MiB | Reserved / live, \
         worst | Device calls |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, device) in devices {
        for hinted in [true, false] {
            let pool = Pool::new(Arc::clone(&device), PoolConfig::elastic())?;
            let load = caches::Load { caches: 6, tokens: 32 << 10, bytes_per_token: BYTES_PER_TOKEN, hinted };
            let done = caches::run(&pool, load)?;
            println!(
                "| {name} | {} | {} | {} | {} | {:.3} % | {:.0} | {:.3} | {} |",
                load.caches,
                BYTES_PER_TOKEN >> 10,
                if hinted { "yes" } else { "no" },
                done.steps,
                100.0 - 100.0 * done.copies as f64 / done.steps as f64,
                done.live as f64 / MIB,
                done.worst,
                done.device_calls,
            );
        }
    }
    Ok(())
}

//! A million live buffers, freed in random order: the time, the metadata, and whether all bytes come back.

use std::sync::Arc;
use std::time::Instant;

use fastrand::Rng;
use warmheap::device::sim::SimDevice;
use warmheap::{Buffer, Pool, PoolConfig};

use crate::program::Sizes;
use crate::show::Table;

const COUNT: usize = 1_000_000;

pub(super) fn table() -> Table {
    let columns = [
        ("allocate, ns", 1),
        ("free, ns", 1),
        ("bookkeeping, MiB", 1),
        ("bytes a buffer", 1),
        ("live before, MiB", 1),
        ("used after, MiB", 3),
        ("held by the pool after, MiB", 1),
        ("held after it closed, MiB", 3),
    ];
    let mut table = Table::new("a million buffers, 256 B-16 KiB", &columns);
    table.row("warmheap, elastic", run(SimDevice::new()).map(Some));
    table.row("warmheap, discrete", run(SimDevice::new().discrete()).map(Some));
    table
}

fn run(device: SimDevice) -> [f64; 8] {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let each = |start: Instant| start.elapsed().as_secs_f64() * 1e9 / COUNT as f64;
    let mut random = Rng::with_seed(1);
    let sizes = Sizes { least: 256, most: 16 << 10 };
    let sizes: Vec<u64> = (0..COUNT).map(|_| sizes.draw(&mut random)).collect();
    let pool = Pool::new(Arc::new(device.clone()), PoolConfig::elastic()).expect("the device has room");

    let mut buffers: Vec<Buffer> = Vec::with_capacity(COUNT);
    let start = Instant::now();
    buffers.extend(sizes.iter().map(|size| pool.allocate(*size).expect("the device has room")));
    let allocate = each(start);
    let bookkeeping = pool.metadata_bytes();
    random.shuffle(&mut buffers);
    let start = Instant::now();
    drop(buffers);
    let free = each(start);

    let (used, held) = (pool.statistics().used_capacity_mb, pool.reserved_bytes());
    drop(pool);
    [
        allocate,
        free,
        mib(bookkeeping as u64),
        bookkeeping as f64 / COUNT as f64,
        mib(sizes.iter().sum()),
        used,
        mib(held),
        mib(device.live_bytes()),
    ]
}

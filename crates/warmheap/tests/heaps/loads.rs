//! Loads that come and go, for the tests of what goes back then.

use std::sync::Arc;

use warmheap::config::MIB;
use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;
use warmheap::{Buffer, Pool, PoolConfig};

/// Allocates `count` buffers of 4 MiB, and returns every `every`-th. The others are freed.
pub(crate) fn spike(pool: &Pool, count: usize, every: usize) -> Vec<Buffer> {
    let buffers: Vec<_> = (0..count).map(|_| pool.allocate(4 * MIB).unwrap()).collect();
    buffers.into_iter().step_by(every).collect()
}

/// Returns devices, and settings that promise two heaps and allow six.
pub(crate) fn promised() -> ([Arc<dyn Device>; 2], PoolConfig) {
    let config = PoolConfig::default().with_heap_size(16 * MIB).with_num_heaps(2).with_warmup_sizes([]);
    let devices = [Arc::new(SimDevice::new()) as Arc<dyn Device>, Arc::new(HostDevice::new())];
    (devices, config.with_dynamic_growth(true).with_max_heaps(6))
}

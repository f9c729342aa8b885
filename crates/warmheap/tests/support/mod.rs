//! What tests of several files need: pools of every kind, and checks of what a pool must leave behind.
#![allow(dead_code, reason = "each area uses a part")]

pub(crate) mod foreign;
pub(crate) mod watchdog;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;
use warmheap::{Buffer, Pool, PoolConfig};

/// Returns settings for fixed heaps of `heap_size` bytes each, without warm-up.
pub(crate) fn fixed(heaps: usize, heap_size: u64) -> PoolConfig {
    PoolConfig::default().with_heap_size(heap_size).with_num_heaps(heaps).with_warmup_sizes([])
}

/// Opens a pool on a simulated device.
pub(crate) fn start(sim: &SimDevice, config: PoolConfig) -> Pool {
    Pool::new(Arc::new(sim.clone()), config).unwrap()
}

/// Returns the three sizings by name, each with a device of its own.
pub(crate) fn ways(
    sim: impl Fn() -> SimDevice,
    elastic: PoolConfig,
    fixed: PoolConfig,
) -> [(&'static str, SimDevice, PoolConfig); 3] {
    [("growing", sim(), elastic.clone()), ("discrete", sim().discrete(), elastic), ("fixed", sim(), fixed)]
}

/// Returns devices for pools that size their heaps, by name.
pub(crate) fn devices() -> [(&'static str, Arc<dyn Device>); 3] {
    [
        ("growing", Arc::new(SimDevice::new())),
        ("discrete", Arc::new(SimDevice::new().discrete())),
        ("host", Arc::new(HostDevice::new())),
    ]
}

/// Fails unless every byte and every object is back at the device.
#[track_caller]
pub(crate) fn assert_all_back(sim: &SimDevice) {
    assert_eq!((sim.live_bytes(), sim.live_objects()), (0, 0), "not all came back to the device");
}

/// Fails if two buffers share bytes.
#[track_caller]
pub(crate) fn assert_apart<'a>(buffers: impl IntoIterator<Item = &'a Buffer>) {
    let mut ranges: Vec<_> =
        buffers.into_iter().map(|buffer| (buffer.device_address(), buffer.size())).collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:#x?} overlap");
    }
}

/// Waits until a condition holds, for at most `patience`. Returns whether it holds.
pub(crate) fn becomes(patience: Duration, holds: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > patience {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

//! The whole pool: safe buffers, growth, recorded call sites, and statistics unless the name says otherwise.

use std::sync::Arc;

use warmheap::config::{HeapSizing, PoolConfig, Strategy};
use warmheap::device::sim::SimDevice;
use warmheap::{Buffer, Pool, Request};

use super::Contestant;

/// Creates a pool on a device whose heaps grow in place.
pub(crate) fn elastic() -> Pool {
    pool(SimDevice::new(), PoolConfig::elastic())
}

/// Creates a pool on a device whose heaps keep their size.
pub(crate) fn discrete() -> Pool {
    pool(SimDevice::new().discrete(), PoolConfig::elastic())
}

/// As [`elastic`], but with statistics off.
pub(crate) fn untracked() -> Pool {
    let mut config = PoolConfig::elastic();
    config.track_statistics = false;
    pool(SimDevice::new(), config)
}

/// Creates a pool with `count` heaps of `size` bytes, all created at start-up.
pub(crate) fn fixed(count: usize, size: u64, strategy: Strategy) -> Pool {
    let mut config = PoolConfig::default();
    config.heaps = HeapSizing::Fixed;
    config.num_heaps = count;
    config.max_heaps = count;
    config.heap_size = size;
    config.strategy = strategy;
    config.warmup_sizes.clear();
    pool(SimDevice::new().discrete(), config)
}

fn pool(device: SimDevice, config: PoolConfig) -> Pool {
    Pool::new(Arc::new(device), config).expect("the simulated device has room")
}

impl Contestant for Pool {
    type Held = Buffer;

    #[inline(always)]
    fn allocate(&self, size: u64) -> Option<Buffer> {
        Pool::allocate(self, size).ok()
    }

    #[inline(always)]
    fn free(&self, slot: &mut Option<Buffer>) {
        *slot = None;
    }

    fn reserved(&self) -> Option<u64> {
        Some(self.peak_reserved_bytes())
    }
}

/// A pool that fails if its heaps are full, and never asks the device.
pub(crate) struct HeapsOnly(Pool);

impl HeapsOnly {
    pub(crate) fn elastic(budget: u64) -> Self {
        Self(pool(SimDevice::new().budget(budget), PoolConfig::elastic()))
    }

    pub(crate) fn discrete(budget: u64) -> Self {
        Self(pool(SimDevice::new().discrete().budget(budget), PoolConfig::elastic()))
    }

    pub(crate) fn one_heap(size: u64) -> Self {
        Self(fixed(1, size, Strategy::BestFit))
    }
}

impl Contestant for HeapsOnly {
    type Held = Buffer;

    fn allocate(&self, size: u64) -> Option<Buffer> {
        self.0.allocate(Request::new(size).no_fallback()).ok()
    }

    fn free(&self, slot: &mut Option<Buffer>) {
        *slot = None;
    }

    fn reserved(&self) -> Option<u64> {
        Some(self.0.peak_reserved_bytes())
    }
}

//! Devices and settings of every kind for random programs.

use std::sync::Arc;

use warmheap::Buffer;
use warmheap::config::{HeapSizing, MIB, PoolConfig, Scrub, Strategy};
use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;

use super::Choices;

/// What a program runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Simulated fixed heaps.
    Fixed,
    /// Simulated growing heaps.
    Elastic,
    /// Simulated discrete heaps.
    Discrete,
    /// Memory of this process, with contents, in all three sizings.
    Host,
}

/// A device, settings for a pool on it, and what to expect of both.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) sim: Option<SimDevice>,
    pub(crate) config: PoolConfig,
    pub(crate) budget: Option<u64>,
    /// The largest size to request.
    pub(crate) largest: u64,
    pub(crate) granule: u64,
}

impl Setup {
    pub(crate) fn random(kind: Kind, rng: &mut Choices) -> Self {
        let sizing = match kind {
            Kind::Fixed => HeapSizing::Fixed,
            Kind::Elastic | Kind::Discrete => HeapSizing::Elastic,
            Kind::Host => rng.choice([HeapSizing::Fixed, HeapSizing::Elastic]).unwrap(),
        };
        let config = Self::config(sizing, kind == Kind::Host, rng);
        let largest = config.heap_size * 5 / 4;
        let budget = (rng.u8(0..3) == 0).then(|| config.heap_size * rng.u64(1..8));
        let (device, sim): (Arc<dyn Device>, _) = if kind == Kind::Host {
            let host = budget.map_or_else(HostDevice::new, HostDevice::with_budget);
            (Arc::new(host), None)
        } else {
            let sim = budget.map_or_else(SimDevice::new, |budget| SimDevice::new().budget(budget));
            let sim = if kind == Kind::Elastic { sim } else { sim.discrete().purgeable() };
            (Arc::new(sim.clone()), Some(sim))
        };
        Self { granule: device.limits().alignment, device, sim, config, budget, largest }
    }

    fn config(sizing: HeapSizing, small: bool, rng: &mut Choices) -> PoolConfig {
        let mut config = PoolConfig::default();
        config.heaps = sizing;
        config.enabled = rng.u8(0..16) > 0;
        // Sizes may be odd too, because the YAML allows fractions of a MiB.
        config.heap_size = rng.u64(1..if small { 8 } else { 64 }) * MIB + rng.u64(0..4) * 1001;
        config.num_heaps = rng.usize(1..5);
        let warm = rng.usize(0..3);
        config.warmup_sizes = (0..warm).map(|_| rng.u64(1..=config.heap_size)).collect();
        config.strategy =
            *rng.choice(&[Strategy::RoundRobin, Strategy::BestFit, Strategy::LeastUsed]).unwrap();
        config.dynamic_growth = rng.bool();
        config.max_heaps = config.num_heaps + rng.usize(0..6);
        config.track_statistics = rng.u8(0..8) > 0;
        config.thread_cache.max_bytes = *rng.choice(&[0, 4096, MIB, 64 * MIB]).unwrap();
        config.thread_heaps = rng.u8(0..4) > 0;
        config.scrub = if rng.u8(0..8) == 0 { Scrub::OnFree } else { Scrub::Never };
        config
    }

    /// Whether a request may fail although the device works.
    pub(crate) fn may_fail(&self, may_fall_back: bool) -> bool {
        let heaps_may = self.config.heaps == HeapSizing::Fixed || !self.config.enabled;
        self.budget.is_some() || (heaps_may && !may_fall_back)
    }

    /// Whether the pool can always grow instead of falling back.
    pub(crate) fn grows_without_bound(&self) -> bool {
        self.budget.is_none() && self.config.heaps == HeapSizing::Elastic && self.device.limits().elastic
    }

    /// Fills a buffer, where the CPU can reach it.
    pub(crate) fn write(&self, buffer: &Buffer, byte: u8) {
        if let Some(bytes) = buffer.host_ptr() {
            // SAFETY: the buffer is alive, and this program holds it.
            unsafe { bytes.write_bytes(byte, buffer.size() as usize) };
        }
    }

    /// Fails unless every byte of the buffer is `byte`, where the CPU can reach it.
    pub(crate) fn expect(&self, buffer: &Buffer, byte: u8) {
        self.expect_first(buffer, buffer.size(), byte);
    }

    /// Fails unless the first `len` bytes of the buffer are `byte`, where the CPU can reach them.
    pub(crate) fn expect_first(&self, buffer: &Buffer, len: u64, byte: u8) {
        const PIECE: usize = 4096;
        let Some(bytes) = buffer.host_ptr() else { return };
        // SAFETY: the buffer is alive, and this program holds it.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), len as usize) };
        let wanted = [byte; PIECE];
        let same = bytes.chunks(PIECE).all(|piece| *piece == wanted[..piece.len()]);
        assert!(same, "{buffer:?} does not hold {byte} any more");
    }

    /// Fails unless everything is back.
    pub(crate) fn assert_empty(&self) {
        if let Some(sim) = &self.sim {
            assert_eq!((sim.live_bytes(), sim.live_objects()), (0, 0), "not all came back: {self:?}");
        } else if let Some(budget) = self.budget {
            assert_eq!(self.device.limits().available, Some(budget), "not all came back: {self:?}");
        }
    }
}

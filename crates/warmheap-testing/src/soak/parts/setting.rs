//! The settings of a round, chosen at random for its device.
#![forbid(unsafe_code)]

use std::time::Duration;

use fastrand::Rng;

use warmheap::config::{Compaction, HeapSizing, MAX_HEAP_SIZE, MIB, Scrub, Strategy};
use warmheap::device::{DeviceError, DeviceLimits};
use warmheap::{AllocError, PoolConfig};

/// The largest share of a device's free memory to use: one part in this many.
const SHARE: u64 = 4;
/// The most bytes to use of a device that says what is free.
const REAL_MEMORY: u64 = 512 * MIB;
/// The most bytes to use of a device that has no memory. Sums of sizes stay far from what 64 bits hold.
const NO_MEMORY: u64 = 1 << 42;

/// The tag that may have a quota.
pub(in crate::soak) const METERED: &str = "kv-cache";

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::soak) struct Setting {
    pub(in crate::soak) config: PoolConfig,
    /// The power of two that sizes are divided by.
    pub(in crate::soak) shift: u32,
    /// The bytes that all threads together request at most, or little less.
    pub(in crate::soak) demand: u64,
    /// One buffer in this many may move; 0 means none.
    pub(in crate::soak) one_movable_in: u32,
    /// Whether fresh memory is zero and the CPU can access it.
    starts_zeroed: bool,
}

impl Setting {
    /// Returns whether the settings explain this refusal.
    pub(in crate::soak) fn excuse(&self, error: &AllocError) -> bool {
        match error {
            AllocError::QuotaExceeded(_) => !self.config.quotas.is_empty(),
            // Without a device error, the request allowed no fallback.
            AllocError::OutOfMemory(error) => self.excuse_device(error.device()),
            // Without a device error, another block lies behind the buffer.
            AllocError::CannotGrow(error) => self.excuse_device(error.device()),
            _ => false,
        }
    }

    fn excuse_device(&self, error: Option<&DeviceError>) -> bool {
        match error {
            None => true,
            Some(DeviceError::PastLimit { .. }) => self.config.limits.hard_bytes.is_some(),
            Some(_) => false,
        }
    }

    /// Returns whether all memory that is handed out must read as zero.
    pub(in crate::soak) fn scrubs(&self) -> bool {
        self.config.scrub == Scrub::OnFree && self.starts_zeroed
    }

    /// Returns settings for a device of these limits, and for traces that request `demand` bytes together.
    pub(in crate::soak) fn new(
        limits: &DeviceLimits,
        demand: u64,
        heaps: Option<HeapSizing>,
        rng: &mut Rng,
    ) -> Self {
        // A device that does not say what is free has no real memory to exhaust.
        let most = limits.available.map_or(NO_MEMORY, |free| (free / SHARE).min(REAL_MEMORY));
        let shift = (0..63).find(|shift| demand >> shift <= most).unwrap_or(63);
        let demand = (demand >> shift).max(MIB);
        let starts_zeroed = limits.zeroed && limits.host_visible;
        let one_movable_in = rng.choice([0, 4, 16, 16]).unwrap_or_default();
        let mut config = config(demand, rng);
        config.heaps = heaps.unwrap_or(config.heaps);
        Self { config, shift, demand, one_movable_in, starts_zeroed }
    }
}

fn config(demand: u64, rng: &mut Rng) -> PoolConfig {
    let mut config = PoolConfig::default();
    let choose = |rng: &mut Rng, from: [u64; 4]| rng.choice(from).unwrap_or_default();
    config.heaps = if rng.bool() { HeapSizing::Elastic } else { HeapSizing::Fixed };
    config.num_heaps = rng.usize(1..=8);
    let heap_size = demand / 100 * choose(rng, [40, 80, 110, 200]) / config.num_heaps as u64;
    config.heap_size = heap_size.clamp(MIB, MAX_HEAP_SIZE);
    config.warmup_sizes = if rng.bool() { vec![config.heap_size / 8] } else { Vec::new() };
    config.strategy =
        rng.choice([Strategy::RoundRobin, Strategy::BestFit, Strategy::LeastUsed]).unwrap_or_default();
    config.dynamic_growth = rng.bool();
    config.max_heaps = config.num_heaps + rng.usize(..8);
    config.track_statistics = rng.u8(..8) > 0;
    config.thread_cache.max_bytes = choose(rng, [0, MIB, 64 * MIB, 64 * MIB]);
    config.thread_heaps = rng.u8(..4) > 0;
    config.scrub = if rng.u8(..4) == 0 { Scrub::OnFree } else { Scrub::Never };
    if rng.u8(..4) == 0 {
        let promised = config.heap_size * config.num_heaps as u64;
        config.limits.soft_bytes = Some(demand.max(promised) / 10 * 9);
        config.limits.hard_bytes = Some(demand.max(promised) / 10 * 12);
    }
    if rng.u8(..4) == 0 {
        config.quotas.insert(METERED.to_owned(), demand / 16);
    }
    config.wait = Duration::from_millis(choose(rng, [0, 0, 0, 1]));
    if rng.u8(..4) == 0 {
        config.compaction = compaction(demand, rng);
    }
    config
}

/// Returns settings of compaction, in the background and for requests that find no room.
fn compaction(demand: u64, rng: &mut Rng) -> Compaction {
    Compaction::default()
        .with_enabled(true)
        .with_threshold(rng.choice([0.01, 0.1, 0.5]).unwrap_or_default())
        .with_interval(Duration::from_millis(rng.choice([1, 5, 50]).unwrap_or_default()))
        .with_step_bytes(rng.choice([MIB, demand]).unwrap_or_default())
        .with_step_time(Duration::from_micros(rng.choice([50, 2_000]).unwrap_or_default()))
}

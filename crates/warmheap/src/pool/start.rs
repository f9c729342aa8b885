//! Making a pool: heaps created and warmed before the first request.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::account::UpTo;
use super::bursts::Bursts;
use super::compact::Compactor;
use super::counters::{Peak, Totals};
use super::depot::Depot;
use super::driver::Driver;
use super::early::Early;
use super::error::StartError;
use super::fallback::Fallback;
use super::headroom::Headroom;
use super::heap::Heap;
use super::heaps::Heaps;
use super::ladder::Ladder;
use super::left::Left;
use super::lock;
use super::maintain::{Maintainer, Wanted};
use super::notes::Notes;
use super::pressure::Callbacks;
use super::quotas::Quotas;
use super::shared::Shared;
use super::withheld::Withheld;
use crate::config::{HeapSizing, MAX_HEAPS, MIB, PoolConfig, Strategy};
use crate::device::{Device, HeapKind, HeapRequest};
use crate::fork::Process;
use crate::offsets::RangeAllocator;
use crate::sync::{AtomicBool, AtomicU64, CheckedMutex, Mutex};

/// The most threads that have elastic heaps for themselves.
const HOMES: usize = MAX_HEAPS / 2;

impl Shared {
    /// Creates the pool and its heaps, and warms them.
    pub(crate) fn start(device: Arc<dyn Device>, config: PoolConfig) -> Result<Arc<Self>, StartError> {
        config.validate().map_err(|error| StartError::Config(Box::new(error)))?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let driver = Driver::new(device, &config.limits);
        let limits = *driver.limits();
        let shift = limits.alignment.trailing_zeros();
        let places = match config.heaps {
            HeapSizing::Fixed if config.dynamic_growth => config.max_heaps.max(config.num_heaps),
            HeapSizing::Fixed => config.num_heaps,
            HeapSizing::Elastic if limits.elastic && !has_homes(&config) => 1,
            HeapSizing::Elastic if limits.elastic => 2 * HOMES,
            HeapSizing::Elastic => MAX_HEAPS,
        };
        let strategy = match config.heaps {
            // Chosen heaps differ in size and age: packing decides.
            HeapSizing::Elastic => Strategy::BestFit,
            HeapSizing::Fixed => config.strategy,
        };
        let process = Process::current();
        let shared = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            process,
            shift,
            largest_class: Self::largest_class(&config, shift),
            heaps: Heaps::new(places, shift, strategy),
            depot: Depot::new(config.thread_cache.max_bytes >> shift),
            fallback: Fallback::default(),
            locals: Mutex::default(),
            peak: Peak::default(),
            past: Mutex::new(Totals::default()),
            fallbacks: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            exhaustion: Bursts::default(),
            ladder: Ladder::default(),
            callbacks: Callbacks::default(),
            quotas: Quotas::new(&config.quotas),
            grows_ahead: config.enabled && config.heaps == HeapSizing::Fixed && config.dynamic_growth,
            not_ahead: Bursts::default(),
            headroom: Headroom::default(),
            looks: Mutex::default(),
            compactor: Compactor::default(),
            growth: CheckedMutex::default(),
            resting: Mutex::default(),
            withheld: Withheld::default(),
            closed: AtomicBool::new(false),
            timelines: Mutex::default(),
            left: Left::default(),
            notes: Notes::default(),
            early: Early::default(),
            orphans: Mutex::new(None),
            config,
            driver,
        });
        if shared.config.enabled {
            match shared.config.heaps {
                HeapSizing::Fixed => shared.create_fixed()?,
                HeapSizing::Elastic if limits.elastic => {
                    // One heap for all threads, or the first thread's two.
                    let reserved = match shared.heaps.places() {
                        1 => shared.reserve_elastic(),
                        _ => shared.reserve_pair(),
                    };
                    reserved?;
                }
                HeapSizing::Elastic => {}
            }
        }
        Ok(shared)
    }

    /// Starts the thread that keeps the pool in order, if the settings ask for one.
    pub(crate) fn start_maintainer(&self) -> Result<Option<Maintainer>, StartError> {
        let PoolConfig { enabled, trim_after, ref compaction, .. } = self.config;
        let wanted = Wanted { looks: enabled && !trim_after.is_zero(), steps: enabled && compaction.enabled };
        let (key, off) = match wanted {
            Wanted { looks: false, steps: false } => return Ok(None),
            Wanted { looks: true, .. } => ("trim_after_ms", "0"),
            Wanted { steps: true, .. } => ("compaction.enabled", "false"),
        };
        let started = Maintainer::start(self.me.clone(), wanted);
        started.map(Some).map_err(|error| StartError::Unsupported {
            key,
            reason: format!("no thread could be started for it ({error}); set it to {off}"),
        })
    }

    fn create_fixed(&self) -> Result<(), StartError> {
        let (size, heaps) = (self.config.heap_size, self.config.num_heaps);
        if self.granules(size).is_none() {
            let most = self.bytes(u32::MAX.into()) / MIB;
            return Err(StartError::Unsupported {
                key: "heap_size_mb",
                reason: format!(
                    "{} is more than a heap can hold ({most}); use more, smaller heaps",
                    size / MIB
                ),
            });
        }
        for number in 1..=heaps {
            let added = self.add_heap(size, UpTo::Hard);
            added.map_err(|source| StartError::Heap { number, heaps, size, source })?;
        }
        self.warm_up()
    }

    /// Reserves the addresses of an elastic heap.
    fn reserve_elastic(&self) -> Result<Option<u16>, StartError> {
        if self.heaps.vacant().is_none() {
            return Ok(None);
        }
        let limits = self.driver.limits();
        let most = self.bytes(u32::MAX.into()) / limits.granularity * limits.granularity;
        let size = limits.largest_heap.min(most) / limits.granularity * limits.granularity;
        let request = HeapRequest { size, kind: HeapKind::Elastic, label: "warmheap".into() };
        let fail = |source| StartError::Heap { number: 1, heaps: 1, size, source };
        let held = self.driver.create_heap(&request, UpTo::Hard).map_err(fail)?;
        let len = self.granules(size).unwrap_or(u32::MAX);
        Ok(self.install(Heap::new(RangeAllocator::new(len), held, true)))
    }

    /// Reserves the addresses of two elastic heaps side by side in the table; the first's place.
    pub(crate) fn reserve_pair(&self) -> Result<Option<u16>, StartError> {
        let Some(large) = self.reserve_elastic()? else { return Ok(None) };
        match self.reserve_elastic() {
            Ok(Some(_)) => Ok(Some(large)),
            failed => {
                self.drop_heap(large);
                failed
            }
        }
    }

    /// Warms every heap for one buffer of every configured size, so that the first requests find
    /// their memory committed. A size larger than a heap is skipped.
    fn warm_up(&self) -> Result<(), StartError> {
        let (heaps, heap_size) = (self.heap_count(), self.config.heap_size);
        // Buffers of these sizes, all alive at once, would lie side by side from the heap's start.
        let fitting = self.config.warmup_sizes.iter().filter(|size| **size <= heap_size);
        let size = fitting.fold(0, |sum: u64, size| sum.saturating_add(*size)).min(heap_size);
        if size == 0 {
            return Ok(());
        }
        for (number, slot) in (1..).zip(self.heaps.slots()) {
            let memory = slot.with(|open| open.heap().map(|heap| Arc::clone(&heap.memory)));
            let Some(memory) = memory else { continue };
            let warmed = self.driver.warm(&*memory, 0, size);
            warmed.map_err(|source| StartError::WarmUp { number, heaps, size, source })?;
        }
        Ok(())
    }

    /// Heaps held from the device, those at rest included.
    pub(crate) fn heap_count(&self) -> usize {
        let slots = self.heaps.slots().iter();
        slots.filter(|slot| slot.with(|open| open.heap().is_some())).count() + lock(&self.resting).len()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for slot in self.heaps.slots() {
            if let Some(heap) = slot.with(|open| open.remove()) {
                self.destroy(heap);
            }
        }
        self.drop_resting();
        self.speak();
    }
}

/// Whether the settings give threads heaps of their own, where the device can.
pub(crate) fn has_homes(config: &PoolConfig) -> bool {
    config.enabled && config.thread_heaps && config.thread_cache.max_bytes > 0
}

//! The start of a pool: its heaps are created and warmed before the first request.
//!
//! The module owns the order of the start. A start that fails never leaves a heap behind.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::config::PoolConfig;
use crate::device::Device;
use crate::fork::Process;
use crate::pool::accounting::counters::{Peak, Totals};
use crate::pool::accounting::device_calls::DeviceCalls;
use crate::pool::accounting::quotas::Quotas;
use crate::pool::accounting::rate_limit::RateLimit;
use crate::pool::accounting::stages::StageCounters;
use crate::pool::background::thread::{BackgroundThread, Wanted};
use crate::pool::cache::depot::Depot;
use crate::pool::core::callbacks::Callbacks;
use crate::pool::core::movables::Compactor;
use crate::pool::core::notes::Notes;
use crate::pool::core::quarantine::Quarantine;
use crate::pool::core::{Core, notes};
use crate::pool::heaps::fallback::Fallback;
use crate::pool::heaps::table::HeapTable;
use crate::pool::in_flight::early_reuse::EarlyReuse;
use crate::pool::in_flight::left_behind::Left;
use crate::pool::interface::start_error::StartError;
use crate::pool::sizing::purgeable;
use crate::pool::{sizing, start_check};
use crate::sync::{AtomicBool, AtomicU64, CheckedMutex, Mutex};

impl Drop for Core {
    fn drop(&mut self) {
        for arena in self.heaps.arenas() {
            for (heap, held) in arena.with(|open| open.remove_all()) {
                self.note_end(self.driver.give_back(heap.memory, held));
            }
        }
        purgeable::drop_all(self);
        notes::speak(self);
    }
}

/// Creates the pool and its heaps, and warms them.
pub(crate) fn start(device: Arc<dyn Device>, config: PoolConfig) -> Result<Arc<Core>, StartError> {
    let unknown = |source| StartError::Device { source };
    let driver = DeviceCalls::new(device, &config.limits).map_err(unknown)?;
    let limits = *driver.limits();
    for warning in start_check::check(&limits, &config)? {
        tracing::warn!("{warning}");
    }
    let shift = limits.alignment.trailing_zeros();
    let sizing = sizing::choose(&config, &limits);
    let process = Process::current();
    let shared = Arc::new_cyclic(|me| Core {
        me: me.clone(),
        process,
        shift,
        largest_class: Core::largest_class(&config, shift),
        heaps: HeapTable::new(sizing.arenas(), shift, sizing.strategy()),
        depot: Depot::new(config.thread_cache.max_bytes >> shift),
        fallback: Fallback::default(),
        locals: Mutex::default(),
        peak: Peak::default(),
        past: Mutex::new(Totals::default()),
        fallbacks: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        exhaustion: RateLimit::default(),
        stages: StageCounters::default(),
        callbacks: Callbacks::default(),
        quotas: Quotas::new(&config.quotas),
        sizing,
        looks: Mutex::default(),
        compactor: Compactor::default(),
        growth: CheckedMutex::default(),
        purgeable: Mutex::default(),
        quarantine: Quarantine::default(),
        closed: AtomicBool::new(false),
        timelines: Mutex::default(),
        left: Left::default(),
        notes: Notes::default(),
        early: EarlyReuse::default(),
        closing: Mutex::new(None),
        config,
        driver,
    });
    if shared.config.enabled {
        shared.sizing.open(&shared)?;
    }
    Ok(shared)
}

/// Starts the pool's own thread, if the settings ask for one.
pub(crate) fn start_maintainer(core: &Core) -> Result<Option<BackgroundThread>, StartError> {
    let PoolConfig { enabled, trim_after, ref compaction, .. } = core.config;
    let wanted = Wanted { looks: enabled && !trim_after.is_zero(), steps: enabled && compaction.enabled };
    let (key, off) = match wanted {
        Wanted { looks: false, steps: false } => return Ok(None),
        Wanted { looks: true, .. } => ("trim_after_ms", "0"),
        Wanted { steps: true, .. } => ("compaction.enabled", "false"),
    };
    let started = BackgroundThread::start(core.me.clone(), wanted);
    started.map(Some).map_err(|error| StartError::Unsupported {
        key,
        reason: format!("no thread could be started for it ({error}); set it to {off}"),
    })
}

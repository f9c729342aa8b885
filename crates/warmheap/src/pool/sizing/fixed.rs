//! Fixed heaps: as many and as large as the settings say, warmed at start-up.
//!
//! The module owns when a heap is added ahead. It never gives back a heap that the settings promise.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::config::{PoolConfig, Strategy};
use crate::device::DeviceError;
use crate::pool::accounting::account::UpTo;
use crate::pool::accounting::rate_limit::RateLimit;
use crate::pool::core::sizing::Sizing;
use crate::pool::core::{Core, figures};
use crate::pool::heaps::arena::Arena;
use crate::pool::heaps::span::{EXACT, SpanRequest};
use crate::pool::heaps::thread_owned::OwnHeaps;
use crate::pool::interface::start_error::StartError;
use crate::pool::sizing::whole_heaps;
use crate::sync::lock;

const ONE_GRANULE: SpanRequest = SpanRequest { class: EXACT, len: 1, align: 1 };

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Fixed {
    heap_size: u64,
    num_heaps: usize,
    max_heaps: usize,
    strategy: Strategy,
    /// Whether heaps are added before one is missed.
    ahead: bool,
    /// When adding ahead was last refused.
    refused: RateLimit,
}

impl Fixed {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        let PoolConfig { heap_size, num_heaps, max_heaps, dynamic_growth, strategy, enabled, .. } = *config;
        Self {
            heap_size,
            num_heaps,
            max_heaps: if dynamic_growth { max_heaps.max(num_heaps) } else { num_heaps },
            strategy,
            ahead: enabled && dynamic_growth,
            refused: RateLimit::default(),
        }
    }

    /// Whatever the settings, heaps that were promised and given up since may be created again.
    fn may_add_heap(&self, core: &Core) -> bool {
        core.heap_count() < self.max_heaps
    }
}

impl Sizing for Fixed {
    fn arenas(&self) -> usize {
        self.max_heaps
    }

    fn most_heaps(&self) -> usize {
        self.max_heaps
    }

    fn strategy(&self) -> Strategy {
        self.strategy
    }

    fn open(&self, core: &Core) -> Result<(), StartError> {
        let (size, heaps) = (core.config.heap_size, core.config.num_heaps);
        for number in 1..=heaps {
            let added = whole_heaps::add_heap(core, size, UpTo::Hard);
            added.map_err(|source| StartError::Heap { number, heaps, size, source })?;
        }
        warm_up(core)
    }

    /// Best fit has all heaps in one arena, so that it compares the free blocks of all, until further threads
    /// come. The other strategies choose among arenas of one heap each.
    fn arena_for_heap(&self, core: &Core) -> u16 {
        match self.strategy {
            Strategy::BestFit => core.residence().unwrap_or(0),
            Strategy::RoundRobin | Strategy::LeastUsed => core.heaps.emptiest().0,
        }
    }

    /// With best fit, gives the thread unused heaps of other threads' arenas, as long as there are any. A
    /// thread that gets none shares an arena.
    fn heaps_for_thread(&self, core: &Core) -> Option<OwnHeaps> {
        if self.strategy != Strategy::BestFit {
            return Some(OwnHeaps::Shared);
        }
        let has_heaps = |arena: &Arena| arena.levels().committed > 0;
        let arena = core.heaps.settle_in(|_| true)?;
        if has_heaps(core.heaps.arena(arena)) || whole_heaps::take_over(core, arena, ONE_GRANULE) {
            return Some(OwnHeaps::Resident(arena));
        }
        core.heaps.arena(arena).move_out();
        // While the lock is held, no heap is on its way, so some arena has heaps.
        let _none_moves = lock(&core.purgeable);
        Some(core.heaps.settle_in(has_heaps).map_or(OwnHeaps::Shared, OwnHeaps::Resident))
    }

    fn grow(&self, core: &Core, want: SpanRequest, up_to: UpTo) -> Result<bool, DeviceError> {
        let bytes = core.bytes(u64::from(want.len) + u64::from(want.align) - 1);
        if bytes > self.heap_size || !self.may_add_heap(core) {
            return Ok(false);
        }
        whole_heaps::add_heap(core, self.heap_size, up_to)
    }

    fn grows_ahead(&self) -> bool {
        self.ahead
    }

    /// Adds a heap if utilisation has passed `growth_trigger`, before one is missed.
    fn grow_ahead(&self, core: &Core) {
        let within = |used: u64, all: u64| used as f64 <= core.config.growth_trigger * all as f64;
        // The hints come first, because they take no lock. They count cached spans as used.
        let (committed, used) = figures::levels(core);
        let purgeable_len = || lock(&core.purgeable).iter().map(|heap| u64::from(heap.len)).sum::<u64>();
        if within(used, committed) || within(used, committed + purgeable_len()) || self.refused.lately() {
            return;
        }
        // A thread that holds the growth lock makes room anyway.
        let Some(_alone) = core.growth.try_lock() else { return };
        let grown = !figures::is_past(core, core.config.growth_trigger)
            || (self.may_add_heap(core)
                && whole_heaps::add_heap(core, core.config.heap_size, UpTo::Soft) == Ok(true));
        if !grown {
            // Looking costs locks, so the pool does not look again for a while.
            self.refused.begins();
        }
    }

    fn give_back(&self, core: &Core, target: u64) -> Result<u64, DeviceError> {
        Ok(whole_heaps::drop_unused_heaps(core, target))
    }

    fn promised(&self) -> usize {
        self.num_heaps
    }
}

/// Warms every heap for one buffer of every configured size, so that the first requests find their memory
/// committed. Skips a size larger than a heap.
fn warm_up(core: &Core) -> Result<(), StartError> {
    let (heaps, size) = (core.heap_count(), core.config.warmed_bytes());
    if size == 0 {
        return Ok(());
    }
    let memories = |arena: &Arena| {
        arena.with(|open| open.heaps().map(|(_, heap)| Arc::clone(&heap.memory)).collect::<Vec<_>>())
    };
    for (number, memory) in (1..).zip(core.heaps.arenas().iter().flat_map(memories)) {
        let warmed = core.driver.warm(&*memory, 0, size);
        warmed.map_err(|source| StartError::WarmUp { number, heaps, size, source })?;
    }
    Ok(())
}

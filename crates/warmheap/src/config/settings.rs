//! The settings as plain data, with their defaults. Nothing is checked here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::MIB;

/// A pool's settings. The default has four fixed heaps of 256 MiB.
///
/// Sizes are in bytes here. The YAML keys that end in `_mb` are MiB.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// The master switch: `false` sends every allocation straight to the device, and still counts it.
    pub enabled: bool,
    /// How heaps are sized.
    pub heaps: HeapSizing,
    /// The bytes of each heap, for [`HeapSizing::Fixed`].
    pub heap_size: u64,
    /// The number of heaps created at start-up, for [`HeapSizing::Fixed`].
    pub num_heaps: usize,
    /// The buffer sizes in bytes that every heap is warmed for. A size larger than a heap is skipped
    /// with a warning.
    pub warmup_sizes: Vec<u64>,
    /// Whether the pool counts allocations and bytes.
    pub track_statistics: bool,
    /// Whether the pool logs that no heap had room and the device served the request.
    pub log_exhaustion: bool,
    /// The rule that chooses a fixed heap for a request.
    pub strategy: Strategy,
    /// Whether the pool adds heaps, up to `max_heaps`, as it fills.
    pub dynamic_growth: bool,
    /// The most heaps that dynamic growth may reach.
    pub max_heaps: usize,
    /// The utilisation (0 to 1) past which a heap is added, before a request finds no room.
    pub growth_trigger: f64,
    /// Compaction of fragmented heaps.
    pub compaction: Compaction,
    /// The free memory that each thread may keep for itself.
    pub thread_cache: ThreadCache,
    /// Whether each thread that allocates has heaps of its own, on devices whose heaps grow in place.
    /// With `false` all threads share one heap. That suits programs in which one thread frees what
    /// another allocates: memory then need not follow the work from heap to heap.
    pub thread_heaps: bool,
    /// Whether freed memory is cleared.
    pub scrub: Scrub,
    /// How long the pool keeps memory that no buffer needs. Then a thread of the pool gives it back to
    /// the device. Zero keeps memory and starts no thread.
    pub trim_after: Duration,
    /// Bounds on what is held from the device.
    pub limits: Limits,
    /// The most requested bytes that may be alive under each tag.
    pub quotas: BTreeMap<String, u64>,
    /// How long a request that cannot be served waits for memory in flight. A request may set its own
    /// time instead.
    pub wait: Duration,
}

/// How heaps are sized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HeapSizing {
    /// The pool creates `num_heaps` heaps of `heap_size` bytes each at start-up.
    #[default]
    Fixed,
    /// The pool takes memory as it is needed and chooses the sizes. Heaps grow in place where the device
    /// can do that. Elsewhere the pool adds further heaps.
    Elastic,
}

/// The rule that chooses a fixed heap for a request which the thread's cache cannot serve.
///
/// Heaps that the pool sizes itself always use best fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Strategy {
    /// Heaps take turns. This spreads the load.
    #[default]
    RoundRobin,
    /// The heap whose free block fits most tightly. This packs buffers. Where several threads allocate, each
    /// has heaps of its own that come first.
    BestFit,
    /// The heap with the most free bytes. This fills heaps evenly.
    LeastUsed,
}

/// Compaction of fragmented heaps.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Compaction {
    /// Whether the pool compacts in the background.
    pub enabled: bool,
    /// The fragmentation (0 to 1) past which a heap is compacted.
    pub threshold: f64,
    /// The time between two checks of fragmentation.
    pub interval: Duration,
    /// The most bytes copied in one step. The buffer that reaches the bound is still moved whole.
    pub step_bytes: u64,
    /// The most time that one step takes. The buffer that reaches the bound is still moved whole.
    pub step_time: Duration,
}

impl Default for Compaction {
    fn default() -> Self {
        Self {
            enabled: false,
            threshold: 0.50,
            interval: Duration::from_secs(60),
            step_bytes: 64 * MIB,
            step_time: Duration::from_millis(2),
        }
    }
}

/// Bounds on the free memory that a thread keeps for its next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadCache {
    /// The most bytes that one thread may keep, whatever the pool's size. 0 leaves everything to the
    /// heaps: all threads share them, and no thread has heaps of its own.
    pub max_bytes: u64,
}

impl ThreadCache {
    /// Bounds what each thread keeps to `max_bytes`.
    #[must_use]
    pub const fn new(max_bytes: u64) -> Self {
        Self { max_bytes }
    }
}

/// Whether memory is cleared when it is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Scrub {
    /// The contents stay until they are overwritten.
    #[default]
    Never,
    /// Memory is cleared before any caller can get it again.
    OnFree,
}

/// Bounds on the bytes and objects (heaps and fallback buffers) that a pool holds from its device.
/// `None` means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Limits {
    /// The bytes past which the pool first gives back what no buffer uses. If that is not enough, it
    /// calls the program's pressure callbacks.
    pub soft_bytes: Option<u64>,
    /// The bytes that the pool never exceeds.
    pub hard_bytes: Option<u64>,
    /// As `soft_bytes`, for objects.
    pub soft_objects: Option<u64>,
    /// As `hard_bytes`, for objects.
    pub hard_objects: Option<u64>,
    /// Whether the pool also stays within the budget that the device names at start-up.
    pub device_budget: bool,
}

impl PoolConfig {
    /// Returns the settings of a pool that sizes its own heaps as memory is needed:
    /// [`HeapSizing::Elastic`], no warm-up sizes, no cap on growth. `heap_size`, `num_heaps`, `strategy`
    /// and the settings of dynamic growth have no effect on such a pool.
    #[must_use]
    pub fn elastic() -> Self {
        Self { heaps: HeapSizing::Elastic, warmup_sizes: Vec::new(), ..Self::default() }
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            heaps: HeapSizing::Fixed,
            heap_size: 256 * MIB,
            num_heaps: 4,
            warmup_sizes: vec![32 * MIB, 128 * MIB, 512 * MIB],
            track_statistics: true,
            log_exhaustion: true,
            strategy: Strategy::RoundRobin,
            dynamic_growth: false,
            max_heaps: 8,
            growth_trigger: 0.90,
            compaction: Compaction::default(),
            thread_cache: ThreadCache::new(64 * MIB),
            thread_heaps: true,
            scrub: Scrub::Never,
            trim_after: Duration::ZERO,
            limits: Limits::default(),
            quotas: BTreeMap::new(),
            wait: Duration::ZERO,
        }
    }
}

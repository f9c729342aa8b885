//! What a pool is told at start-up.
//!
//! [`PoolConfig`] is plain data with the guide's names and defaults. It knows nothing of pools or
//! devices; whether a value makes sense is checked in one place ([`PoolConfig::validate`], over the
//! table of [`keys`]), so that the file, the builder and the environment accept and refuse the same
//! things. Nothing here prints, logs or panics: what is wrong comes back as a [`ConfigError`], what
//! is merely odd as a [`Warning`].
//!
//! ```
//! use warmheap::config::{MIB, PoolConfig, Strategy};
//!
//! let config = PoolConfig::default()
//!     .with_heap_size(512 * MIB)
//!     .with_warmup_sizes([32 * MIB, 128 * MIB])
//!     .with_strategy(Strategy::BestFit);
//! assert!(config.validate().is_ok());
//! ```

#![forbid(unsafe_code)]

mod assign;
mod builder;
mod env;
mod error;
mod input;
mod key;
mod rule;
mod validate;
mod value;
#[cfg(feature = "yaml")]
mod yaml;

use std::collections::BTreeMap;
use std::time::Duration;

pub use env::{RESERVED_VARIABLES, VARIABLE_PREFIX};
pub use error::{ConfigError, Fault, Place, Problem, Warning};
pub(crate) use key::mib;
pub use key::{Key, keys};
pub use rule::{MAX_HEAP_SIZE, MAX_HEAPS};
pub use value::Value;
#[cfg(feature = "yaml")]
pub use yaml::MAX_YAML_BYTES;

/// One MiB: the unit of every `_mb` in configuration and statistics.
pub const MIB: u64 = 1 << 20;

/// A pool's settings. [`Default`] is the guide's.
///
/// Sizes are in bytes here; the YAML keys that end in `_mb` are MiB.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// The master switch: `false` sends every allocation straight to the device, still counted.
    pub enabled: bool,
    /// How heaps are sized.
    pub heaps: HeapSizing,
    /// Bytes of each heap, for [`HeapSizing::Fixed`].
    pub heap_size: u64,
    /// Heaps created at start-up, for [`HeapSizing::Fixed`].
    pub num_heaps: usize,
    /// Buffer sizes in bytes that every heap is warmed for; one larger than a heap is skipped with
    /// a warning.
    pub warmup_sizes: Vec<u64>,
    /// Count allocations and bytes. Off means not counted at all.
    pub track_statistics: bool,
    /// Log when no heap fits and the device must help.
    pub log_exhaustion: bool,
    /// Which heap serves a request.
    pub strategy: Strategy,
    /// Create more heaps, up to `max_heaps`, as the pool fills.
    pub dynamic_growth: bool,
    /// The most heaps dynamic growth may reach.
    pub max_heaps: usize,
    /// Utilisation (0 to 1) past which a heap is added before one is missed.
    pub growth_trigger: f64,
    /// Compaction of fragmented heaps.
    pub compaction: Compaction,
    /// The free ranges each thread may keep for itself.
    pub thread_cache: ThreadCache,
    /// On devices whose heaps grow in place, each thread that allocates has heaps of its own. Off,
    /// all share one: for programs in which one thread frees what another allocates, so that memory
    /// need not follow the work from heap to heap.
    pub thread_heaps: bool,
    /// Whether freed memory is cleared.
    pub scrub: Scrub,
    /// How long memory may lie idle before a thread of the pool's gives it back; zero is for ever, and
    /// no thread.
    pub trim_after: Duration,
    /// Bounds on what is held from the device.
    pub limits: Limits,
    /// The most requested bytes that may be alive under a tag, by the tag's name.
    pub quotas: BTreeMap<String, u64>,
    /// How long a request that cannot be served waits for memory in flight, unless it says so itself.
    pub wait: Duration,
}

/// How heaps are sized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeapSizing {
    /// The guide's: `num_heaps` of `heap_size` each.
    #[default]
    Fixed,
    /// The pool takes memory as it is needed and chooses the sizes: in place where the device can
    /// grow a heap, in at most 64 heaps where it cannot.
    Elastic,
}

/// Which heap serves a request that no cached range satisfies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Heaps take turns; spreads load.
    #[default]
    RoundRobin,
    /// The heap whose smallest fitting hole is tightest; packs.
    BestFit,
    /// The heap with the most free bytes; evens out.
    LeastUsed,
}

/// Compaction of fragmented heaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Compaction {
    /// Compact in the background.
    pub enabled: bool,
    /// Fragmentation (0 to 1) past which a heap is compacted.
    pub threshold: f64,
    /// Time between looks.
    pub interval: Duration,
    /// The most bytes copied in one step, but for the buffer that uses them up.
    pub step_bytes: u64,
    /// The most time that one step takes, but for the buffer that uses it up.
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

/// Bounds on the free ranges that a thread keeps for its next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadCache {
    /// The most bytes one thread may hold back, whatever the pool's size; 0 leaves everything to
    /// the heaps that all threads share, and no thread has one of its own.
    pub max_bytes: u64,
}

/// Whether memory is cleared when it is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scrub {
    /// Contents stay until overwritten.
    #[default]
    Never,
    /// Cleared before anyone else can get it.
    OnFree,
}

/// Bounds on the bytes and objects (heaps and fallback buffers) that a pool holds from its device.
/// `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes past which the pool first gives back what it can, and then tells whoever asked to be told.
    pub soft_bytes: Option<u64>,
    /// Bytes never exceeded.
    pub hard_bytes: Option<u64>,
    /// As `soft_bytes`, of objects.
    pub soft_objects: Option<u64>,
    /// As `hard_bytes`, of objects.
    pub hard_objects: Option<u64>,
    /// Never to exceed the device's own budget either, as the device names it at start-up.
    pub device_budget: bool,
}

impl PoolConfig {
    /// A pool that sizes its own heaps as memory is needed: [`HeapSizing::Elastic`], nothing warmed
    /// for in particular, no cap on growth. `heap_size`, `num_heaps` and the keys of dynamic growth
    /// have no effect on it.
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
            thread_cache: ThreadCache { max_bytes: 64 * MIB },
            thread_heaps: true,
            scrub: Scrub::Never,
            trim_after: Duration::ZERO,
            limits: Limits::default(),
            quotas: BTreeMap::new(),
            wait: Duration::ZERO,
        }
    }
}

//! The options of a Metal device, and what each costs and requires.
#![forbid(unsafe_code)]

use std::time::Duration;

use objc2_metal::{MTLCPUCacheMode, MTLHazardTrackingMode, MTLHeapType, MTLResourceOptions, MTLStorageMode};

use super::residency::ResidencyOptions;
use crate::setters::setters;

/// How a [`MetalDevice`](super::MetalDevice) creates heaps and buffers. By default they have private storage,
/// the default CPU cache and tracked hazards, and heaps are placement heaps, in which the pool chooses the
/// offsets.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MetalOptions {
    /// Whether the pool or the driver chooses the offsets in a heap.
    pub placement: Placement,
    /// Whether the CPU can see the memory.
    pub storage: Storage,
    /// How the CPU's cache treats the memory.
    pub cpu_cache: CpuCache,
    /// Whether Metal or the program orders work on the memory.
    pub hazards: Hazards,
    /// Whether a queue may reuse memory of its own before the GPU is done with it
    /// ([`PoolQueue::allocate`](crate::PoolQueue::allocate)), although Metal does not order the two uses:
    /// submissions of a queue overlap on untracked memory, and the CPU writes shared memory at any time. Off
    /// by default. Set it if the program orders the uses itself. Private, tracked memory needs no setting.
    pub early_reuse: bool,
    /// What warming a range does.
    pub warm_up: WarmUp,
    /// The most Metal objects (heaps and buffers) that the device holds at once. Programs have ended
    /// near 499,000, and past 2^19 buffers each one costs much more. The default is 450,000.
    pub object_limit: u64,
    /// Which memory stays wired, and for how long.
    pub residency: ResidencyOptions,
}

impl Default for MetalOptions {
    fn default() -> Self {
        Self {
            placement: Placement::Placement,
            storage: Storage::Private,
            cpu_cache: CpuCache::Default,
            hazards: Hazards::Tracked,
            early_reuse: false,
            warm_up: WarmUp::Fill { wait: true },
            object_limit: 450_000,
            residency: ResidencyOptions::default(),
        }
    }
}

setters! {
    MetalOptions {
        /// Sets whether the pool or the driver chooses the offsets in a heap.
        with_placement => placement: Placement;
        /// Sets whether the CPU can see the memory.
        with_storage => storage: Storage;
        /// Sets how the CPU's cache treats the memory.
        with_cpu_cache => cpu_cache: CpuCache;
        /// Sets whether Metal or the program orders work on the memory.
        with_hazards => hazards: Hazards;
        /// Sets whether a queue may reuse memory early although Metal does not order the two uses.
        with_early_reuse => early_reuse: bool;
        /// Sets what warming a range does.
        with_warm_up => warm_up: WarmUp;
        /// Sets the most Metal objects that the device holds at once.
        with_object_limit => object_limit: u64;
        /// Sets which memory stays wired, and for how long.
        with_residency => residency: ResidencyOptions;
    }
}

setters! {
    ResidencyOptions {
        /// Sets whether heaps and fallback buffers are kept in residency sets.
        with_enabled => enabled: bool;
        /// Sets the share of the working set that one set may hold (0 to 1).
        with_set_share => set_share: f64;
        /// Sets the most sets.
        with_max_sets => max_sets: usize;
        /// Sets how long memory stays wired after the last submission.
        with_keep_alive => keep_alive: Duration;
        /// Sets the share of the working set (0 to 1) that is left to the rest of the system.
        with_reserve_share => reserve_share: f64;
    }
}

/// Whether the pool or the driver chooses the place of a buffer in an MTLHeap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The pool chooses (MTLHeapTypePlacement). A range can have its own MTLBuffer.
    Placement,
    /// The driver chooses (MTLHeapTypeAutomatic). One buffer fills the heap, and the pool hands out ranges of
    /// it. A range cannot have its own MTLBuffer.
    Automatic,
}

/// Whether the CPU can see the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Only the GPU sees the memory. The GPU clears and warms it.
    Private,
    /// CPU and GPU see the same bytes. On Apple silicon there is no copy. The CPU must not write a range that
    /// work in flight still reads; retire such a range under a ticket of the queue.
    Shared,
}

/// How the CPU's cache treats the memory. This has no effect on [`Storage::Private`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuCache {
    /// Cached, which suits anything that the CPU reads.
    Default,
    /// Write-combined, which is faster for memory that the CPU only writes, in order. Reads are very slow.
    WriteCombined,
}

/// Whether Metal or the program orders work on the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hazards {
    /// Metal orders work, and treats each heap as one unit. A write to any range waits for work on every
    /// other range of that heap, and delays it. This is always safe, but work overlaps less.
    Tracked,
    /// The program orders work: with encoder order within a command buffer, with fences within a queue, and
    /// with events between queues. Otherwise two dispatches can race on a reused range.
    Untracked,
}

/// What warming a range does, and whether start-up waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmUp {
    /// The GPU writes every byte of the range, so every page is wired and mapped for it.
    ///
    /// With `wait: false` the writes go on after start-up. The pool orders them before its later fills, but
    /// not before the program's work. So the program's first command buffer must wait for them
    /// ([`MetalDevice::encode_wait_for_fills`](super::MetalDevice::encode_wait_for_fills)).
    Fill {
        /// Whether the call returns only when the GPU has written the range.
        wait: bool,
    },
    /// The device requests residency of the heap at once, and keeps it resident. Nothing is written. Without
    /// residency sets (before macOS 15 and iOS 18) this is `Fill { wait: true }`.
    Residency,
}

impl MetalOptions {
    /// Returns the resource options of every buffer. The buffers of a heap must have its storage and cache
    /// mode.
    pub(super) fn resource(&self) -> MTLResourceOptions {
        let storage = match self.storage {
            Storage::Private => MTLResourceOptions::StorageModePrivate,
            Storage::Shared => MTLResourceOptions::StorageModeShared,
        };
        let cache = match self.cache() {
            CpuCache::Default => MTLResourceOptions::CPUCacheModeDefaultCache,
            CpuCache::WriteCombined => MTLResourceOptions::CPUCacheModeWriteCombined,
        };
        let hazards = match self.hazards {
            Hazards::Tracked => MTLResourceOptions::HazardTrackingModeTracked,
            Hazards::Untracked => MTLResourceOptions::HazardTrackingModeUntracked,
        };
        storage | cache | hazards
    }

    /// Whether a queue may reuse memory of its own before the GPU is done with it.
    pub(super) fn allows_early_reuse(&self) -> bool {
        let ordered_by_metal = self.hazards == Hazards::Tracked && self.storage == Storage::Private;
        self.early_reuse || ordered_by_metal
    }

    pub(super) fn heap_type(&self) -> MTLHeapType {
        match self.placement {
            Placement::Placement => MTLHeapType::Placement,
            Placement::Automatic => MTLHeapType::Automatic,
        }
    }

    pub(super) fn storage_mode(&self) -> MTLStorageMode {
        match self.storage {
            Storage::Private => MTLStorageMode::Private,
            Storage::Shared => MTLStorageMode::Shared,
        }
    }

    /// The cache mode in use. Private memory has the default mode, because the CPU never sees it.
    fn cache(&self) -> CpuCache {
        match self.storage {
            Storage::Private => CpuCache::Default,
            Storage::Shared => self.cpu_cache,
        }
    }

    pub(super) fn cache_mode(&self) -> MTLCPUCacheMode {
        match self.cache() {
            CpuCache::Default => MTLCPUCacheMode::DefaultCache,
            CpuCache::WriteCombined => MTLCPUCacheMode::WriteCombined,
        }
    }

    pub(super) fn hazard_mode(&self) -> MTLHazardTrackingMode {
        match self.hazards {
            Hazards::Tracked => MTLHazardTrackingMode::Tracked,
            Hazards::Untracked => MTLHazardTrackingMode::Untracked,
        }
    }
}

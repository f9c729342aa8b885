//! How a Metal device makes its memory: plain choices, with what each costs and demands.
#![forbid(unsafe_code)]

use objc2_metal::{MTLCPUCacheMode, MTLHazardTrackingMode, MTLHeapType, MTLResourceOptions, MTLStorageMode};

use super::ResidencyOptions;

/// How a [`MetalDevice`](super::MetalDevice) makes heaps and buffers. [`Default`] is the guide's:
/// private, default cache, tracked; plus placement heaps, which let the pool choose the offsets.
#[derive(Debug, Clone, PartialEq)]
pub struct MetalOptions {
    /// Who chooses offsets.
    pub placement: Placement,
    /// Whether the CPU can see the memory.
    pub storage: Storage,
    /// How the CPU's cache treats it.
    pub cpu_cache: CpuCache,
    /// Who orders work on it.
    pub hazards: Hazards,
    /// What warming a range does.
    pub warm_up: WarmUp,
    /// The most Metal objects (heaps and buffers) to hold at once. Metal stops a process at about
    /// 499,000; the default, 450,000, leaves the rest to the engine.
    pub object_limit: u64,
    /// What stays wired, and for how long.
    pub residency: ResidencyOptions,
}

impl Default for MetalOptions {
    fn default() -> Self {
        Self {
            placement: Placement::Placement,
            storage: Storage::Private,
            cpu_cache: CpuCache::Default,
            hazards: Hazards::Tracked,
            warm_up: WarmUp::Fill { wait: true },
            object_limit: 450_000,
            residency: ResidencyOptions::default(),
        }
    }
}

/// Who chooses where in an MTLHeap a buffer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The pool: MTLHeapTypePlacement. Ranges and own MTLBuffers.
    Placement,
    /// The driver: MTLHeapTypeAutomatic. One buffer fills the heap and ranges of it are handed
    /// out; an own MTLBuffer per range is not possible.
    Automatic,
}

/// Whether the CPU can see the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// GPU only. Cleared and warmed by the GPU.
    Private,
    /// CPU and GPU, the same bytes; on Apple silicon no copy is made. The CPU must not write a
    /// range that work in flight still reads: free it through the queue's ticket.
    Shared,
}

/// How the CPU's cache treats the memory; without meaning for [`Storage::Private`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuCache {
    /// Cached: right for anything the CPU reads.
    Default,
    /// Write-combined: faster for memory the CPU only writes, in order; reads are very slow.
    WriteCombined,
}

/// Who orders work on the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hazards {
    /// Metal does, and takes each heap as one unit: a write to any range waits for, and holds up,
    /// work on every other range of that heap. Safe without thought; costs overlap.
    Tracked,
    /// You do: by encoder order within a command buffer, by fences within a queue, by events
    /// between queues. Nothing stops two dispatches from racing on a reused range otherwise.
    Untracked,
}

/// What warming a range does, and whether start-up waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmUp {
    /// The GPU writes every byte of the range, so every page is wired and mapped for it.
    ///
    /// With `wait: false` the writes go on after start-up. They are ordered before later fills by
    /// the pool, but not before your work: have your first command buffer wait for them
    /// ([`MetalDevice::encode_wait_for_fills`](super::MetalDevice::encode_wait_for_fills)).
    Fill {
        /// Return only when the GPU has written the range.
        wait: bool,
    },
    /// The heap is asked to be made resident at once, and stays so; nothing is written. Where
    /// there are no residency sets (before macOS 15 and iOS 18) this is `Fill { wait: true }`.
    Residency,
}

impl MetalOptions {
    /// The resource options of every buffer: a heap's buffers must have its storage and cache mode.
    pub(super) fn resource(&self) -> MTLResourceOptions {
        let storage = match self.storage {
            Storage::Private => MTLResourceOptions::StorageModePrivate,
            Storage::Shared => MTLResourceOptions::StorageModeShared,
        };
        let cache = match self.cpu_cache {
            CpuCache::Default => MTLResourceOptions::CPUCacheModeDefaultCache,
            CpuCache::WriteCombined => MTLResourceOptions::CPUCacheModeWriteCombined,
        };
        let hazards = match self.hazards {
            Hazards::Tracked => MTLResourceOptions::HazardTrackingModeTracked,
            Hazards::Untracked => MTLResourceOptions::HazardTrackingModeUntracked,
        };
        storage | cache | hazards
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

    pub(super) fn cache_mode(&self) -> MTLCPUCacheMode {
        match self.cpu_cache {
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

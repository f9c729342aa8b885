//! Residency: which memory stays wired for the GPU, with as few commits as possible.
//!
//! [`policy`] decides, and is pure. [`sets`] applies its decisions to MTLResidencySets, if the system has
//! them (macOS 15 and iOS 18; checked at run time). This module owns every set and the place of every member.
//! It must never hold a member's memory after the member is dropped.
#![forbid(unsafe_code)]

mod policy;
mod sets;

use std::time::Duration;

pub(super) use sets::{Keeper, Member, Residency};

/// Which memory stays wired, and for how long.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ResidencyOptions {
    /// Whether heaps and fallback buffers are kept in residency sets, if the system has them.
    pub enabled: bool,
    /// The share of the working set that one set may hold (0 to 1). The system unwires a set as a whole. A
    /// heap larger than this gets its own set. A set may always hold 64 MiB.
    pub set_share: f64,
    /// The most sets. Metal allows 32 for each queue, those of the engine included. The default, 16, leaves the
    /// other half to the engine.
    pub max_sets: usize,
    /// How long memory stays wired after the last use, once the program has said that it is idle
    /// ([`Pool::make_purgeable`](crate::Pool::make_purgeable)). Until then it stays wired, because queues that
    /// are not a [`MetalQueue`](super::MetalQueue) may use it. A use is a submission of a `MetalQueue` of this
    /// device, or [`MetalDevice::note_use`](super::MetalDevice::note_use). With zero there is no thread for
    /// this, and the system decides.
    pub keep_alive: Duration,
    /// The share of the working set (0 to 1) that is left to the rest of the system. Memory that would take
    /// from this reserve is not wired, but can still be used.
    pub reserve_share: f64,
}

impl Default for ResidencyOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            set_share: 0.05,
            max_sets: 16,
            keep_alive: Duration::from_secs(180),
            reserve_share: 0.10,
        }
    }
}

/// The memory that is resident now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResidencyUse {
    /// Whether the system has residency sets and they are in use.
    pub supported: bool,
    /// The number of sets.
    pub sets: usize,
    /// The bytes of their members.
    pub resident_bytes: u64,
    /// The bytes that are left out to keep the system's reserve.
    pub waiting_bytes: u64,
    /// The number of commits so far. A commit is the expensive call.
    pub commits: u64,
}

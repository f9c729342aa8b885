//! Residency: which memory stays wired for the GPU, in as few commits as possible.
//!
//! [`policy`] decides and is pure; [`sets`] carries its decisions out on MTLResidencySets, where
//! the system has them (macOS 15, iOS 18: asked at run time). Owns every set and every member's
//! place; must never hold a member's memory past its drop.
#![forbid(unsafe_code)]

mod policy;
mod sets;

use std::time::Duration;

pub(super) use sets::{Keeper, Member, Residency};

/// What stays wired, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct ResidencyOptions {
    /// Keep heaps and fallback buffers in residency sets where the system has them.
    pub enabled: bool,
    /// The share of the working set that one set may hold (0 to 1). Large sets are unwired as a
    /// whole; a heap larger than this gets a set to itself.
    pub set_share: f64,
    /// The most sets: Metal allows 32 per queue, those of the engine included.
    pub max_sets: usize,
    /// How long memory stays wired after the last submission of a [`MetalQueue`](super::MetalQueue)
    /// of this device. Zero: no thread watches, and the system decides.
    pub keep_alive: Duration,
    /// The share of the working set (0 to 1) left to the rest of the system: what would pass it is
    /// not wired, and is still usable.
    pub reserve_share: f64,
}

impl Default for ResidencyOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            set_share: 0.05,
            max_sets: 32,
            keep_alive: Duration::from_secs(180),
            reserve_share: 0.10,
        }
    }
}

/// What is resident now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResidencyUse {
    /// The system has residency sets and they are in use.
    pub supported: bool,
    /// Sets made.
    pub sets: usize,
    /// Bytes of their members.
    pub resident_bytes: u64,
    /// Bytes left out to keep the system's reserve.
    pub waiting_bytes: u64,
    /// Commits made, the dear call.
    pub commits: u64,
}

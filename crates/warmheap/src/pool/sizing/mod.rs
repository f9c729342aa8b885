//! How heaps come and go: one file for each of fixed, growing and discrete heaps.
//!
//! The folder owns how much memory is taken from the device and given back, and where it lies. It never acts
//! on its own: the miss, the slow path, `Pool::trim` and decay call it.
#![forbid(unsafe_code)]

pub(crate) mod discrete;
pub(crate) mod fixed;
pub(crate) mod growing;
pub(crate) mod purgeable;
pub(crate) mod thread_heaps;
pub(crate) mod trim;
pub(crate) mod whole_heaps;

use crate::config::{HeapSizing, PoolConfig};
use crate::device::DeviceLimits;
use crate::pool::core::sizing::Sizing;

/// The sizing that the settings and the device call for.
pub(crate) fn choose(config: &PoolConfig, limits: &DeviceLimits) -> Box<dyn Sizing> {
    match config.heaps {
        HeapSizing::Fixed => Box::new(fixed::Fixed::new(config)),
        HeapSizing::Elastic if limits.elastic => Box::new(growing::Growing::new(config)),
        HeapSizing::Elastic => Box::new(discrete::Discrete),
    }
}

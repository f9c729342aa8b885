//! The fallback: a buffer straight from the device.
//!
//! It owns when the device is asked for one. It never passes a soft limit while unused memory is left to give
//! back.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;

use crate::device::DeviceError;
use crate::pool::accounting::account::UpTo;
use crate::pool::accounting::stages::Stage;
use crate::pool::core::Core;
use crate::pool::core::notes::Note;
use crate::pool::heaps::span::Span;
use crate::pool::sizing::purgeable;

/// Asks the device for a buffer of its own. If the device is short, unused memory makes way for it.
pub(crate) fn fall_back(core: &Core, size: u64, align: u64) -> Result<Span, DeviceError> {
    core.stages.tried(Stage::Fallback);
    let ask = |up_to| core.fallback.allocate(&core.driver, size, align, up_to);
    let asked = ask(UpTo::Soft).or_else(|error| {
        let Some(_alone) = core.growth.lock() else { return Err(error) };
        purgeable::make_way(core, error)?;
        ask(UpTo::Soft)
    });
    // A soft limit is passed only when nothing is left to give back.
    let asked = match asked {
        Err(DeviceError::PastLimit { .. }) => ask(UpTo::Hard),
        asked => asked,
    };
    core.stages.served(Stage::Fallback, asked.as_ref().ok());
    let span = asked?;
    if core.config.enabled && core.config.log_exhaustion && core.exhaustion.begins() {
        let fallback_allocations = core.fallbacks.load(Relaxed) + 1;
        core.notes.add(Note::FellBack { size, fallback_allocations });
    }
    Ok(span)
}

//! What can be told of a start before anything is taken from the device.
//!
//! The module owns the errors of a start that cannot succeed, and the warnings of one that succeeds otherwise
//! than is probably meant. It must never call the device: what the device has is read once, by the caller.
#![forbid(unsafe_code)]

use crate::config::{HeapSizing, MIB, PoolConfig, Warning};
use crate::device::{DeviceError, DeviceLimits};
use crate::pool::accounting::account::{Account, UpTo};
use crate::pool::core::sizing::wants_thread_heaps;
use crate::pool::interface::start_error::StartError;

/// Returns the warnings, or the error that a start will have.
pub(crate) fn check(limits: &DeviceLimits, config: &PoolConfig) -> Result<Vec<Warning>, StartError> {
    config.validate().map_err(|error| StartError::Config(Box::new(error)))?;
    match config.heaps {
        _ if !config.enabled => {}
        HeapSizing::Fixed => heaps_fit(limits, config)?,
        HeapSizing::Elastic if limits.elastic => objects_suffice(config)?,
        HeapSizing::Elastic => {}
    }
    Ok(config.warnings().into_iter().chain(without_effect(limits, config)).collect())
}

/// Sets all heaps aside together, as creating them one after the other would. A device may promise each of
/// them without having memory for all.
fn heaps_fit(limits: &DeviceLimits, config: &PoolConfig) -> Result<(), StartError> {
    let heaps = config.num_heaps;
    let granule = limits.alignment.max(1);
    let size = config.heap_size.checked_next_multiple_of(granule).unwrap_or(u64::MAX);
    let most = u64::from(u32::MAX).saturating_mul(granule);
    if size > most {
        return Err(StartError::Unsupported {
            key: "heap_size_mb",
            reason: format!(
                "{} is more than a heap can hold ({}); use more, smaller heaps",
                size / MIB,
                most / MIB
            ),
        });
    }
    let account = Account::new(&config.limits, limits.budget);
    let mut claims = Vec::with_capacity(heaps);
    let mut rest = limits.available;
    for number in 1..=heaps {
        let failed = |source| StartError::Heap { number, heaps, size, source };
        claims.push(account.claim(size, 1, UpTo::Hard).map_err(failed)?);
        if let Some(free) = rest.filter(|free| size > *free) {
            return Err(failed(DeviceError::OutOfMemory { requested: size, available: Some(free) }));
        }
        if size > limits.largest_heap {
            return Err(failed(DeviceError::TooLarge { requested: size, largest: limits.largest_heap }));
        }
        rest = rest.map(|free| free - size);
    }
    Ok(())
}

/// Heaps that grow are made at the start, empty: one, or the two of the first thread.
fn objects_suffice(config: &PoolConfig) -> Result<(), StartError> {
    let heaps = if wants_thread_heaps(config) { 2 } else { 1 };
    match config.limits.hard_objects {
        Some(most) if most < heaps => Err(StartError::Unsupported {
            key: "limits.hard_objects",
            reason: format!(
                "{most} is too few, because {heaps} heaps that grow are made at the start; raise it, or share \
                 one heap with `thread_heaps: false`"
            ),
        }),
        _ => Ok(()),
    }
}

/// Returns the settings that this device cannot give an effect.
fn without_effect(limits: &DeviceLimits, config: &PoolConfig) -> Vec<Warning> {
    let no_budget = config.limits.device_budget && limits.budget.is_none();
    let no_growth =
        config.enabled && config.heaps == HeapSizing::Elastic && !config.thread_heaps && !limits.elastic;
    let no_step = config.limits.hard_bytes.is_some_and(|most| most < limits.granularity);
    let no_step = no_step && config.enabled && config.heaps == HeapSizing::Elastic && limits.elastic;
    let found = [
        (no_step, "heap_sizing", "`limits.hard_mb` is less than the device commits at a time"),
        (no_budget, "limits.device_budget", "the device names no budget"),
        (
            no_growth,
            "thread_heaps",
            "the heaps of this device cannot grow in place, so all threads share them",
        ),
    ];
    let found = found.into_iter().filter(|(applies, ..)| *applies);
    found.map(|(_, key, because)| Warning::WithoutEffect { keys: vec![key], because }).collect()
}

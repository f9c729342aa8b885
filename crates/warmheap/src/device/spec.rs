//! Opens devices by name: on a command line, in Python, in C.
//!
//! All of them share one grammar. This module opens the named device and decides nothing else.
#![forbid(unsafe_code)]

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, mem};

use super::host::HostDevice;
use super::sim::SimDevice;
use super::{Device, DeviceError};
use crate::config::MIB;

/// A device that is named but not open yet.
///
/// The name is `host`, `sim`, `metal` or `cuda`. Options follow a colon, separated by commas. `host` takes
/// `budget=MIB`. `sim` takes `budget=MIB`, `discrete`, `purgeable` and `latency=MICROSECONDS`. `cuda` takes
/// the GPU's number, and `ordered`, which allocates single buffers with `cudaMallocAsync` instead of
/// `cudaMalloc`. `metal` takes `shared`, for memory that the processor sees too, and `untracked`, for programs
/// that order the GPU's work themselves.
///
/// ```
/// use warmheap::device::Spec;
/// let spec: Spec = "sim:discrete,budget=4096".parse()?;
/// assert_eq!(spec.open()?.limits().budget, Some(4 << 30));
/// assert_eq!(spec.to_string(), "sim:discrete,budget=4096");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    kind: Kind,
    options: Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Sim,
    Metal,
    Cuda,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Options {
    budget: Option<u64>,
    discrete: bool,
    purgeable: bool,
    latency: Option<Duration>,
    gpu: u32,
    ordered: bool,
    shared: bool,
    untracked: bool,
}

/// Why a text names no device. The message says what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SpecError(String);

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let kind = match name {
            "host" => Kind::Host,
            "sim" => Kind::Sim,
            "metal" => Kind::Metal,
            "cuda" => Kind::Cuda,
            _ => return Err(SpecError("a device is host, sim, metal or cuda".to_owned())),
        };
        let mut spec = Self { kind, options: Options::default() };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            spec.set(option)?;
        }
        Ok(spec)
    }
}

/// Writes the name without defaults, except that a GPU always has its number.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Host => "host",
            Kind::Sim => "sim",
            Kind::Metal => "metal",
            Kind::Cuda => "cuda",
        };
        let Options { budget, discrete, purgeable, latency, gpu, ordered, shared, untracked } = &self.options;
        let options = [
            (self.kind == Kind::Cuda).then(|| gpu.to_string()),
            discrete.then(|| "discrete".to_owned()),
            purgeable.then(|| "purgeable".to_owned()),
            ordered.then(|| "ordered".to_owned()),
            shared.then(|| "shared".to_owned()),
            untracked.then(|| "untracked".to_owned()),
            budget.map(|bytes| format!("budget={}", bytes / MIB)),
            latency.map(|latency| format!("latency={}", latency.as_micros())),
        ];
        let options: Vec<String> = options.into_iter().flatten().collect();
        let colon = if options.is_empty() { "" } else { ":" };
        write!(f, "{name}{colon}{}", options.join(","))
    }
}

impl Spec {
    fn set(&mut self, option: &str) -> Result<(), SpecError> {
        if let (Kind::Cuda, Ok(gpu)) = (self.kind, option.parse()) {
            self.options.gpu = gpu;
            return Ok(());
        }
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match (self.kind, key) {
            (Kind::Host | Kind::Sim, "budget") => {
                self.options.budget = Some(number(key, value, 1 << 40)? * MIB);
            }
            (Kind::Sim, "latency") => {
                let micros = number(key, value, 1_000_000)?;
                self.options.latency = Some(Duration::from_micros(micros));
            }
            (Kind::Sim, "discrete") if value.is_empty() => self.options.discrete = true,
            (Kind::Sim, "purgeable") if value.is_empty() => self.options.purgeable = true,
            (Kind::Cuda, "ordered") if value.is_empty() => self.options.ordered = true,
            (Kind::Metal, "shared") if value.is_empty() => self.options.shared = true,
            (Kind::Metal, "untracked") if value.is_empty() => self.options.untracked = true,
            _ => {
                return Err(SpecError(format!(
                    "`{option}` is no option of this device; host takes budget=MIB; sim takes budget=MIB, \
                     discrete, purgeable and latency=MICROSECONDS; cuda takes the GPU's number and ordered; \
                     metal takes shared and untracked"
                )));
            }
        }
        Ok(())
    }

    /// Returns the GPU's number, for `cuda`.
    #[must_use]
    pub fn gpu(&self) -> Option<u32> {
        (self.kind == Kind::Cuda).then_some(self.options.gpu)
    }

    /// Whether the device is simulated: addresses without memory behind them.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.kind == Kind::Sim
    }

    /// Returns the same device, allocating single buffers from its driver's own pool. Returns `None` if it
    /// has no such pool, or if it was named that way already.
    #[must_use]
    pub fn driver_pool(&self) -> Option<Self> {
        let mut spec = self.clone();
        let other = self.kind == Kind::Cuda && !mem::replace(&mut spec.options.ordered, true);
        other.then_some(spec)
    }

    /// Opens the device.
    ///
    /// # Errors
    /// Returns [`DeviceError::Unavailable`] if the device is missing or not part of this build. Otherwise
    /// returns the device's own error.
    pub fn open(&self) -> Result<Arc<dyn Device>, DeviceError> {
        match self.kind {
            Kind::Host => Ok(Arc::new(match self.options.budget {
                Some(bytes) => HostDevice::with_budget(bytes),
                None => HostDevice::new(),
            })),
            Kind::Sim => Ok(Arc::new(self.sim())),
            Kind::Metal => metal(&self.options),
            Kind::Cuda => cuda(&self.options),
        }
    }

    fn sim(&self) -> SimDevice {
        let mut sim = SimDevice::new();
        if self.options.discrete {
            sim = sim.discrete();
        }
        if self.options.purgeable {
            sim = sim.purgeable();
        }
        if let Some(bytes) = self.options.budget {
            sim = sim.budget(bytes);
        }
        if let Some(latency) = self.options.latency {
            sim.set_latency(latency);
        }
        sim
    }
}

fn number(key: &str, value: &str, most: u64) -> Result<u64, SpecError> {
    value
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| SpecError(format!("`{key}` needs a whole number from 1 to {most}, as in {key}=100")))
}

#[cfg(feature = "cuda")]
fn cuda(options: &Options) -> Result<Arc<dyn Device>, DeviceError> {
    let device = super::cuda::CudaDevice::open(options.gpu)?;
    Ok(Arc::new(if options.ordered { device.stream_ordered()? } else { device }))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &Options) -> Result<Arc<dyn Device>, DeviceError> {
    absent("cuda", "this build is without the feature `cuda`")
}

#[cfg(all(feature = "metal", any(target_vendor = "apple", metal_double)))]
fn metal(options: &Options) -> Result<Arc<dyn Device>, DeviceError> {
    use super::metal::{Hazards, MetalDevice, MetalOptions, Storage};
    let storage = if options.shared { Storage::Shared } else { Storage::Private };
    let hazards = if options.untracked { Hazards::Untracked } else { Hazards::Tracked };
    let options = MetalOptions::default().with_storage(storage).with_hazards(hazards);
    Ok(Arc::new(MetalDevice::system_default(options)?))
}

#[cfg(not(all(feature = "metal", any(target_vendor = "apple", metal_double))))]
fn metal(_: &Options) -> Result<Arc<dyn Device>, DeviceError> {
    absent("metal", "only Apple systems, and builds for them, have it")
}

#[cfg(not(all(feature = "cuda", feature = "metal", any(target_vendor = "apple", metal_double))))]
fn absent(device: &'static str, reason: &str) -> Result<Arc<dyn Device>, DeviceError> {
    Err(DeviceError::Unavailable { device, reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_follow_a_colon() {
        let spec: Spec = "sim:discrete,budget=4096".parse().unwrap();
        let limits = spec.open().unwrap().limits();
        assert_eq!((limits.elastic, limits.budget), (false, Some(4096 * MIB)));
    }

    #[test]
    fn a_gpu_is_named_by_its_number() {
        let spec: Spec = "cuda:3,ordered".parse().unwrap();
        assert_eq!((spec.gpu(), spec.options.ordered), (Some(3), true));
        assert!("cuda:9999".parse::<Spec>().unwrap().open().is_err());
    }

    #[test]
    fn a_name_is_written_as_it_is_read() {
        for name in [
            "host",
            "host:budget=8",
            "sim:discrete,budget=1,latency=2",
            "cuda:1,ordered",
            "metal",
            "metal:shared,untracked",
        ] {
            assert_eq!(name.parse::<Spec>().unwrap().to_string(), name);
        }
        assert_eq!("cuda".parse::<Spec>().unwrap().to_string(), "cuda:0");
    }

    #[test]
    fn what_a_device_does_not_take_is_refused() {
        for bad in [
            "",
            "gpu",
            "host:discrete",
            "sim:budget=0",
            "sim:budget=x",
            "sim:discrete=1",
            "metal:budget=1",
            "metal:shared=1",
            "host:untracked",
            "cuda:x",
            "cuda:ordered=1",
        ] {
            assert!(bad.parse::<Spec>().is_err(), "{bad}");
        }
    }
}

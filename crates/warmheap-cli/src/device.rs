//! Devices by the names that people type.

use std::fmt;
use std::mem;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use warmheap::config::MIB;
use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;

use crate::failure::Failure;
use gpus::gpu_count;

/// What `--device` says of itself.
pub(crate) const HELP: &str = "The device: host, sim, metal or cuda; options follow a colon, separated \
    by commas: for host and sim budget=MIB, for sim discrete, purgeable and latency=MICROSECONDS, for cuda the \
    GPU's number, and ordered to allocate singly with cudaMallocAsync instead of cudaMalloc, as in \
    sim:discrete,budget=4096 or cuda:0,ordered";

/// The devices that `devices` lists: every GPU that is here, and one line if there is none.
pub(crate) fn names() -> Vec<String> {
    let always = ["host", "sim", "sim:discrete", "metal"].map(str::to_owned);
    let gpus = (0..gpu_count().max(1)).map(|number| format!("cuda:{number}"));
    always.into_iter().chain(gpus).collect()
}

/// A device that was named, not opened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// As it was typed.
    text: String,
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
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let kind = match name {
            "host" => Kind::Host,
            "sim" => Kind::Sim,
            "metal" => Kind::Metal,
            "cuda" => Kind::Cuda,
            _ => return Err("it may be host, sim, metal or cuda".to_owned()),
        };
        let mut spec = Self { text: text.to_owned(), kind, options: Options::default() };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            spec.set(option)?;
        }
        Ok(spec)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Spec {
    fn set(&mut self, option: &str) -> Result<(), String> {
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
            _ => {
                return Err(format!(
                    "`{option}` is no option of it; host takes budget=MIB, sim also discrete, purgeable and \
                     latency=MICROSECONDS, cuda the GPU's number and ordered"
                ));
            }
        }
        Ok(())
    }

    /// Opens the device.
    pub(crate) fn open(&self) -> Result<Arc<dyn Device>, Failure> {
        match self.kind {
            Kind::Host => Ok(Arc::new(match self.options.budget {
                Some(bytes) => HostDevice::with_budget(bytes),
                None => HostDevice::new(),
            })),
            Kind::Sim => Ok(Arc::new(self.sim())),
            Kind::Metal => metal(),
            Kind::Cuda => self.cuda(),
        }
    }

    /// The same device again, allocating singly from its driver's own pool, if it has one and that
    /// is not how it was named.
    pub(crate) fn open_driver_pool(&self) -> Option<Result<Arc<dyn Device>, Failure>> {
        let mut spec = self.clone();
        let other = self.kind == Kind::Cuda && !mem::replace(&mut spec.options.ordered, true);
        other.then(|| spec.open())
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

#[cfg(feature = "cuda")]
mod gpus {
    use warmheap::device::cuda::CudaDevice;

    use super::{Arc, Device, Failure, Spec};

    pub(super) fn gpu_count() -> u32 {
        CudaDevice::count().unwrap_or(0)
    }

    impl Spec {
        pub(super) fn cuda(&self) -> Result<Arc<dyn Device>, Failure> {
            let device = CudaDevice::open(self.options.gpu).map_err(Failure::failed)?;
            let device = if self.options.ordered { device.stream_ordered() } else { Ok(device) };
            Ok(Arc::new(device.map_err(Failure::failed)?))
        }
    }
}

#[cfg(not(feature = "cuda"))]
mod gpus {
    use super::{Arc, Device, Failure, Spec, absent};

    pub(super) fn gpu_count() -> u32 {
        0
    }

    impl Spec {
        pub(super) fn cuda(&self) -> Result<Arc<dyn Device>, Failure> {
            Err(absent("cuda", "build with --features cuda"))
        }
    }
}

fn number(key: &str, value: &str, most: u64) -> Result<u64, String> {
    value
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| format!("`{key}` needs a whole number from 1 to {most}, as in {key}=100"))
}

#[cfg(any(target_vendor = "apple", metal_double))]
fn metal() -> Result<Arc<dyn Device>, Failure> {
    use warmheap::metal::{MetalDevice, MetalOptions};
    match MetalDevice::system_default(MetalOptions::default()) {
        Ok(device) => Ok(Arc::new(device)),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

#[cfg(not(any(target_vendor = "apple", metal_double)))]
fn metal() -> Result<Arc<dyn Device>, Failure> {
    Err(absent("metal", "it exists on Apple systems; use --device host or sim here"))
}

#[cfg(not(all(feature = "cuda", any(target_vendor = "apple", metal_double))))]
fn absent(name: &str, remedy: &str) -> Failure {
    Failure::Failed(format!("device {name} is not part of this command: {remedy}"))
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
        assert_eq!((spec.options.gpu, spec.options.ordered), (3, true));
        assert!("cuda:9999".parse::<Spec>().unwrap().open().is_err());
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
            "cuda:x",
            "cuda:ordered=1",
        ] {
            assert!(bad.parse::<Spec>().is_err(), "{bad}");
        }
    }
}

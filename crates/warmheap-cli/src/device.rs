//! Devices as the command line names them.

use std::sync::Arc;

use warmheap::device::{Device, DeviceError, Spec};

use crate::failure::Failure;

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

/// Opens the device.
pub(crate) fn open(spec: &Spec) -> Result<Arc<dyn Device>, Failure> {
    spec.open().map_err(|error| match error {
        DeviceError::Unavailable { .. } => Failure::Failed(format!("{error}; name another with --device")),
        other => Failure::failed(other),
    })
}

#[cfg(feature = "cuda")]
fn gpu_count() -> u32 {
    warmheap::device::cuda::CudaDevice::count().unwrap_or(0)
}

#[cfg(not(feature = "cuda"))]
fn gpu_count() -> u32 {
    0
}

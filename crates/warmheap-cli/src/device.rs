//! Opens the devices that the command line names.

use std::sync::Arc;

use warmheap::device::{Device, DeviceError, Spec};

use crate::failure::Failure;

/// The help for `--device`.
pub(crate) const HELP: &str = "The device: host, sim, metal or cuda. Options follow a colon, separated \
    by commas. host takes budget=MIB. sim takes budget=MIB, discrete, purgeable and latency=MICROSECONDS. \
    cuda takes the GPU's number, and ordered, which allocates single buffers with cudaMallocAsync instead of \
    cudaMalloc. metal takes shared and untracked. Examples: sim:discrete,budget=4096 and cuda:0,ordered";

/// Returns the devices that `devices` lists: every GPU of the machine, or one line if it has none.
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

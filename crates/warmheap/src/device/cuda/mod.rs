//! NVIDIA GPUs, through the CUDA driver.
//!
//! This folder owns every call into the driver library, which is found when the first device is
//! opened and never needed to build. It must never cache, retry or wait on its own, with one
//! exception: memory is unmapped only when the GPU has finished with it, so giving memory back
//! waits for the device, as the driver's own free does.
//!
//! - `driver`: finding the library, and its status codes as [`DeviceError`](super::DeviceError)
//! - `context`: one device's primary context, shared with the CUDA runtime of the same process
//! - `region`: elastic heaps on virtual memory: addresses once, memory by the granule
//! - `block`: fixed heaps and fallback buffers
//! - `queue`: streams with a counter in host memory that the GPU itself writes
#![allow(unsafe_code)]

mod block;
mod context;
mod cuda_device;
mod driver;
mod queue;
mod region;

pub use cuda_device::CudaDevice;
pub use queue::CudaQueue;

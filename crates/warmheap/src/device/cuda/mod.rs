//! NVIDIA GPUs, through the CUDA driver.
//!
//! ```no_run
//! use std::sync::Arc;
//! use warmheap::config::{MIB, PoolConfig};
//! use warmheap::Pool;
//! use warmheap::device::cuda::CudaDevice;
//!
//! let gpu = CudaDevice::open(0)?;
//! // SAFETY: null is the default stream, which always exists.
//! let stream = Arc::new(unsafe { gpu.queue(std::ptr::null_mut()) }?);
//! let pool = Pool::new(Arc::new(gpu), PoolConfig::elastic())?;
//! let queue = pool.queue(stream.clone());
//! let scratch = pool.allocate(64 * MIB)?;
//! // ... launch kernels that use `scratch` ...
//! scratch.retire(&queue.ticket(stream.signal()?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This folder owns every call into the driver library. The library is loaded when the first device is
//! opened, and is not needed to build. This folder must never cache, retry or wait, with one exception:
//! memory is unmapped only when the GPU has finished with it. So giving memory back waits for the device, as
//! the driver's own free does.
//!
//! - `driver`: loads the library, and turns its status codes into [`DeviceError`]
//! - `context`: a device's primary context, shared with the CUDA runtime of the same process
//! - `region`: growing heaps on virtual memory, which reserve addresses once and commit memory by the page
//! - `block`: fixed heaps and fallback buffers
//! - `queue`: streams with a counter in host memory that the GPU itself writes
#![allow(unsafe_code)]

mod block;
mod context;
mod cuda_device;
mod driver;
mod queue;
mod region;

use block::Block;
use context::Context;
pub use cuda_device::CudaDevice;
pub use queue::CudaQueue;
use region::Region;

use super::{DeviceError, Memory};

/// Returns the address of memory that the device of `context` can copy. That is its own memory only.
fn source(memory: &dyn Memory, context: &Context) -> Result<u64, DeviceError> {
    let any = memory.as_any();
    let block = any.downcast_ref::<Block>().map(|block| (block.ordinal(), block.device_address()));
    let found = block
        .or_else(|| any.downcast_ref::<Region>().map(|region| (region.ordinal(), region.device_address())));
    let (ordinal, address) = found.ok_or(DeviceError::ForeignMemory { device: "cuda" })?;
    if ordinal == context.ordinal { Ok(address) } else { Err(DeviceError::ForeignMemory { device: "cuda" }) }
}

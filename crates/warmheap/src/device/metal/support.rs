//! Checks what the GPU and the system support, before a call that they would end the process for.
//!
//! This module owns nothing. Metal asserts where a heap of some kind is not supported, even without its debug
//! layer, and a system without `gpuAddress` raises an exception. So the questions come first.
#![forbid(unsafe_code)]

use objc2::runtime::{NSObjectProtocol, ProtocolObject};
use objc2::sel;
use objc2_metal::{MTLDevice, MTLGPUFamily, MTLResourceOptions};

use super::options::{MetalOptions, Placement, Storage};
use crate::device::DeviceError;

/// Returns why a device with these options cannot be.
pub(super) fn check(
    device: &ProtocolObject<dyn MTLDevice>,
    options: &MetalOptions,
) -> Result<(), DeviceError> {
    let apple = device.supportsFamily(MTLGPUFamily::Apple1);
    if options.placement == Placement::Placement && !apple && !device.supportsFamily(MTLGPUFamily::Mac2) {
        return Err(DeviceError::Unsupported {
            what: "placement heaps, which need a GPU of family Mac2 or of an Apple family; use automatic heaps",
        });
    }
    let shares = apple && device.hasUnifiedMemory() && !cfg!(target_abi = "sim");
    if options.storage == Storage::Shared && !shares {
        return Err(DeviceError::Unsupported {
            what: "heaps with shared storage, which need an Apple GPU with unified memory, outside the simulator; \
                use private storage",
        });
    }
    let probe = device.newBufferWithLength_options(4, MTLResourceOptions::StorageModePrivate);
    let probe = probe.ok_or(DeviceError::OutOfMemory { requested: 4, available: None })?;
    if !probe.respondsToSelector(sel!(gpuAddress)) {
        return Err(DeviceError::Unavailable {
            device: "metal",
            reason: "buffers have no GPU address before macOS 13 and iOS 16".into(),
        });
    }
    Ok(())
}

//! The pool on Apple GPUs: [`MetalMemoryPool`], and its buffers as arguments of Metal calls.
//!
//! The pool is [`Pool`], and the backend is [`device::metal`](crate::device::metal). This module owns the
//! messages of Metal's start-up errors, and holds no state.
//!
//! ```no_run
//! use warmheap::PoolConfig;
//! use warmheap::metal::{AsMetal, MetalMemoryPool};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = MetalMemoryPool::new(PoolConfig::default())?;
//! let buffer = pool.allocate(1 << 20)?;
//! let place = buffer.metal().ok_or("not in Metal memory")?;
//! let arguments = (place.buffer, place.offset); // of setBuffer:offset:atIndex:
//! # let _ = arguments;
//! # Ok(())
//! # }
//! ```
#![allow(unsafe_code)]

use std::ops::Deref;
use std::sync::Arc;

use objc2::runtime::ProtocolObject;
use objc2_metal::MTLCommandBuffer;

use crate::config::MIB;
use crate::device::DeviceError;
pub use crate::device::metal::{
    Binding, CpuCache, Hazards, HeapUse, MetalDevice, MetalFallback, MetalHeap, MetalOptions, MetalQueue,
    OwnBuffer, Placement, ResidencyOptions, ResidencyUse, Storage, WarmUp,
};
use crate::device::metal::{binding, encode_zero, own_buffer};
use crate::{Buffer, Pool, PoolConfig, StartError};

/// A [`Pool`] whose memory is MTLHeaps; everything a pool can do, it does through `Deref`.
#[derive(Debug, Clone)]
pub struct MetalMemoryPool {
    pool: Pool,
    device: MetalDevice,
}

impl MetalMemoryPool {
    /// A pool on the system's default GPU, with the guide's options: private, tracked heaps.
    ///
    /// # Errors
    /// [`MetalStartError`], with asked and free bytes where memory is short.
    pub fn new(config: PoolConfig) -> Result<Self, MetalStartError> {
        let device = MetalDevice::system_default(MetalOptions::default())?;
        Self::on(device, config)
    }

    /// A pool on a device made from an engine's own MTLDevice, or with other options.
    ///
    /// # Errors
    /// [`MetalStartError`], with asked and free bytes where memory is short.
    pub fn on(device: MetalDevice, config: PoolConfig) -> Result<Self, MetalStartError> {
        let pool = Pool::new(Arc::new(device.clone()), config)?;
        Ok(Self { pool, device })
    }

    /// The device the heaps come from: queues, waits, residency.
    #[must_use]
    pub fn metal(&self) -> &MetalDevice {
        &self.device
    }
}

impl Deref for MetalMemoryPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

/// Why a Metal pool could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetalStartError {
    /// There is no GPU to use.
    #[error("failed to initialize MetalMemoryPool: {0}")]
    Device(#[from] DeviceError),
    /// The device has too little memory for the heaps asked for.
    #[error(
        "failed to initialize MetalMemoryPool: Failed to create MTLHeap (out of memory): heap {number} of {heaps} \
         asks for {} MiB and {} are free; reduce heap_size_mb or num_heaps, or free memory",
        .asked / MIB, .free.map_or("an unknown number".into(), |free| format!("{} MiB", free / MIB))
    )]
    OutOfMemory {
        /// Which heap, counted from 1.
        number: usize,
        /// How many were to be made.
        heaps: usize,
        /// Bytes asked for.
        asked: u64,
        /// Bytes the device recommends this process still to take.
        free: Option<u64>,
    },
    /// Anything else that stops a pool.
    #[error("failed to initialize MetalMemoryPool: {0}")]
    Pool(StartError),
}

impl From<StartError> for MetalStartError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Heap {
                number,
                heaps,
                source: DeviceError::OutOfMemory { requested, available },
                ..
            } => Self::OutOfMemory { number, heaps, asked: requested, free: available },
            other => Self::Pool(other),
        }
    }
}

/// What a pool's buffer is to Metal.
pub trait AsMetal {
    /// The MTLBuffer and offset at which the buffer lies; `None` if its pool is not on Metal. Makes
    /// no Objective-C call.
    fn metal(&self) -> Option<Binding<'_>>;

    /// An MTLBuffer that is this buffer and nothing else, labelled with its tag.
    ///
    /// # Errors
    /// [`DeviceError::TooManyObjects`] at the object limit, [`DeviceError::Unsupported`] in
    /// automatic heaps and for other devices' memory, [`DeviceError::Failed`] or
    /// [`DeviceError::OutOfMemory`] if Metal refuses.
    fn own_mtl_buffer(&self) -> Result<OwnBuffer, DeviceError>;

    /// Encodes into `commands` that the GPU clears this buffer, ahead of what is encoded next. A request with
    /// `zeroed()` is cleared on another queue instead, and its caller waits for that. No encoder may be open.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] or [`DeviceError::ForeignMemory`] for other devices' memory,
    /// [`DeviceError::Failed`] if Metal refuses.
    fn encode_zero(&self, commands: &ProtocolObject<dyn MTLCommandBuffer>) -> Result<(), DeviceError>;
}

impl AsMetal for Buffer {
    fn metal(&self) -> Option<Binding<'_>> {
        let place = self.memory()?;
        let Binding { buffer, offset } = binding(&*place, place.offset())?;
        // SAFETY: the MTLBuffer is owned by the memory that this buffer lies in, which the pool
        // keeps until the last buffer in it is dropped; so it outlives the borrow of `self`.
        let buffer = unsafe { &*std::ptr::from_ref(buffer) };
        Some(Binding { buffer, offset })
    }

    fn own_mtl_buffer(&self) -> Result<OwnBuffer, DeviceError> {
        let place = self.memory().ok_or(DeviceError::Unsupported { what: "buffers without memory" })?;
        let tag = self.tag().name();
        let label = (!tag.is_empty()).then_some(tag);
        own_buffer(&*place, place.offset()..place.offset() + self.size(), label)
    }

    fn encode_zero(&self, commands: &ProtocolObject<dyn MTLCommandBuffer>) -> Result<(), DeviceError> {
        let place = self.memory().ok_or(DeviceError::Unsupported { what: "buffers without memory" })?;
        encode_zero(&*place, place.offset()..place.offset() + self.size(), commands)
    }
}

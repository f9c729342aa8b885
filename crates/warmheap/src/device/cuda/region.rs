//! Growing heaps: a heap reserves its addresses once, and maps and unmaps memory under them by the page. The
//! code here calls a page a granule, as the driver does.
//!
//! Every granule is a physical allocation of its own. The driver unmaps only whole pieces as they were
//! mapped, and the pool gives back any granule that is empty. The handle of a piece is released as soon as
//! the piece is mapped, and unmapping then frees the memory. A region only records which granules are
//! committed, so that its drop can unmap them.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{
    self, CUdeviceptr, CUmemAccess_flags, CUmemAccessDesc, CUmemAllocationProp, CUmemAllocationType,
    CUmemLocation, CUmemLocationType,
};

use super::context::Context;
use super::source;
use crate::device::memory::{copy_within, steps_within, within};
use crate::device::{DeviceError, Memory};

/// The least bytes of one granule. The driver allows 2 MiB, but its time depends mostly on the number of
/// pieces. On an H100, mapping and unmapping a GiB takes 51 ms in pieces of 2 MiB, and 4 ms in pieces of 32
/// MiB (`docs/benchmarks/cuda/costs.txt`).
const PIECE: u64 = 32 << 20;

/// The properties of the memory of growing heaps. They are fixed when the device is opened.
#[derive(Debug)]
pub(super) struct Pieces {
    /// The bytes of one granule.
    pub(super) granularity: u64,
    properties: Properties,
    /// The devices that may use the memory: the device itself, and peers.
    access: Vec<Access>,
}

struct Properties(CUmemAllocationProp);
struct Access(CUmemAccessDesc);

impl Pieces {
    /// Reads the granule of `context`'s device from the driver.
    pub(super) fn new(context: &Context, peers: &[i32]) -> Result<Self, DeviceError> {
        // SAFETY: this is a C struct in which zero is the default of every field.
        let mut properties: CUmemAllocationProp = unsafe { std::mem::zeroed() };
        properties.type_ = CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
        properties.location = on_device(context.ordinal);
        let rdma = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED;
        properties.allocFlags.gpuDirectRDMACapable = u8::from(context.attribute(rdma) != 0);
        let mut granularity = 0;
        // SAFETY: the call reads the properties and writes to a local.
        context.check("cuMemGetAllocationGranularity", unsafe {
            sys::cuMemGetAllocationGranularity(
                &mut granularity,
                &properties,
                sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM,
            )
        })?;
        let access = std::iter::once(context.ordinal)
            .chain(peers.iter().copied())
            .map(|ordinal| {
                Access(CUmemAccessDesc {
                    location: on_device(ordinal),
                    flags: CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
                })
            })
            .collect();
        let granularity = PIECE.next_multiple_of((granularity as u64).max(1));
        Ok(Self { granularity, properties: Properties(properties), access })
    }
}

fn on_device(ordinal: i32) -> CUmemLocation {
    CUmemLocation { type_: CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, id: ordinal }
}

/// A reserved address range with memory under some of it.
#[derive(Debug)]
pub(super) struct Region {
    context: Arc<Context>,
    pieces: Arc<Pieces>,
    base: CUdeviceptr,
    size: u64,
    /// Whether memory is mapped, for each granule.
    committed: Mutex<Vec<bool>>,
}

impl Region {
    /// Reserves `size` bytes of addresses, a multiple of the granule.
    pub(super) fn reserve(
        context: Arc<Context>,
        pieces: Arc<Pieces>,
        size: u64,
    ) -> Result<Self, DeviceError> {
        let mut base: CUdeviceptr = 0;
        // SAFETY: the call writes to a local. 0 requests any address.
        let status =
            unsafe { sys::cuMemAddressReserve(&mut base, size as usize, pieces.granularity as usize, 0, 0) };
        context.check_memory("cuMemAddressReserve", status, size)?;
        let granules = size / pieces.granularity;
        Ok(Self { context, pieces, base, size, committed: Mutex::new(vec![false; granules as usize]) })
    }

    /// Returns the granules of `range`, if it consists of whole granules of the region.
    fn granules(&self, range: &Range<u64>) -> Result<Range<usize>, DeviceError> {
        let step = self.pieces.granularity;
        steps_within(range, self.size, step)?;
        Ok((range.start / step) as usize..(range.end / step) as usize)
    }

    /// Returns the number of the region's device.
    pub(super) fn ordinal(&self) -> i32 {
        self.context.ordinal
    }

    fn at(&self, granule: usize) -> CUdeviceptr {
        self.base + granule as u64 * self.pieces.granularity
    }

    /// Maps one granule of new memory under the addresses of granule `index`.
    fn map(&self, index: usize) -> Result<(), DeviceError> {
        let step = self.pieces.granularity;
        let mut handle = 0;
        // SAFETY: the call reads the properties and writes to a local.
        let status = unsafe { sys::cuMemCreate(&mut handle, step as usize, &self.pieces.properties.0, 0) };
        self.context.check_memory("cuMemCreate", status, step)?;
        // SAFETY: the granule lies in our reservation, and by the flags nothing is mapped there.
        let mapped = unsafe { sys::cuMemMap(self.at(index), step as usize, 0, handle, 0) };
        // SAFETY: the handle is ours. A mapping keeps the memory alive until it is unmapped.
        let released = unsafe { sys::cuMemRelease(handle) };
        self.context.check("cuMemMap", mapped)?;
        self.context.check("cuMemRelease", released).inspect_err(|_| {
            // After an error, nothing may stay mapped. The driver keeps the memory.
            let _ = self.unmap(index);
        })
    }

    fn unmap(&self, index: usize) -> Result<(), DeviceError> {
        let step = self.pieces.granularity as usize;
        // SAFETY: the granule was mapped as one piece. No work that uses it is in flight: callers wait for
        // the device first, or the memory was never handed out.
        self.context.check("cuMemUnmap", unsafe { sys::cuMemUnmap(self.at(index), step) })
    }

    /// Maps all of `range`, and lets the device and its peers use it. The error has the number of granules
    /// that were mapped.
    fn fill_in(&self, range: Range<usize>) -> Result<(), (usize, DeviceError)> {
        if range.is_empty() {
            return Ok(());
        }
        for (done, index) in range.clone().enumerate() {
            self.map(index).map_err(|error| (done, error))?;
        }
        let bytes = range.len() as u64 * self.pieces.granularity;
        let access: Vec<_> = self.pieces.access.iter().map(|a| a.0).collect();
        // SAFETY: the whole range is mapped, and the descriptions live through the call.
        let status = unsafe {
            sys::cuMemSetAccess(self.at(range.start), bytes as usize, access.as_ptr(), access.len())
        };
        self.context.check_memory("cuMemSetAccess", status, bytes).map_err(|error| (range.len(), error))
    }
}

// SAFETY: the reservation's place and length are fixed, and the driver does not hand it out again before the
// drop.
unsafe impl Memory for Region {
    fn device_address(&self) -> u64 {
        self.base
    }

    fn size(&self) -> u64 {
        self.size
    }

    unsafe fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let granules = self.granules(&range)?;
        let requested = range.end - range.start;
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let _entered = self.context.enter()?;
        match self.fill_in(granules.clone()) {
            Ok(()) => {
                committed[granules].fill(true);
                Ok(())
            }
            Err((done, error)) => {
                for index in granules.start..granules.start + done {
                    // The memory is new and was never handed out. If unmapping fails as well, the granule
                    // stays marked, and the drop tries again.
                    committed[index] = self.unmap(index).is_err();
                }
                Err(match error {
                    DeviceError::OutOfMemory { available, .. } => {
                        DeviceError::OutOfMemory { requested, available }
                    }
                    other => other,
                })
            }
        }
    }

    unsafe fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let granules = self.granules(&range)?;
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let entered = self.context.enter()?;
        // Unlike its free, the driver's unmap does not wait for kernels.
        entered.synchronize()?;
        for index in granules.clone() {
            if let Err(error) = self.unmap(index) {
                // A failed call changes nothing. So this maps memory again where it was unmapped already.
                return match self.fill_in(granules.start..index) {
                    Ok(()) => Err(error),
                    Err((_, second)) => {
                        Err(DeviceError::Lost { reason: format!("{error}; and undoing it failed: {second}") })
                    }
                };
            }
        }
        committed[granules].fill(false);
        Ok(())
    }

    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError> {
        // Mapped device memory is resident, so warming would gain nothing.
        within(&range, self.size).map(drop)
    }

    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        let len = within(&range, self.size)?;
        // SAFETY: the range lies in this region. The caller promises that it is committed, and has exclusive
        // access to it.
        unsafe { self.context.fill(self.base + range.start, len, byte) }
    }

    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let target = copy_within(at, self.size, &range, from.size())?;
        let from = source(from, &self.context)? + range.start;
        // SAFETY: both ranges lie in memory of this device, and the caller has exclusive access to them.
        unsafe { self.context.copy(self.base + target.start, from, target.end - target.start) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // While a process ends, the driver may be gone already. It has then freed everything itself.
        let Ok(entered) = self.context.enter() else {
            return;
        };
        let committed = std::mem::take(self.committed.get_mut().unwrap_or_else(PoisonError::into_inner));
        if committed.contains(&true) && entered.synchronize().is_err() {
            return;
        }
        for (index, _) in committed.iter().enumerate().filter(|(_, mapped)| **mapped) {
            let _ = self.unmap(index);
        }
        // SAFETY: this is our own reservation, and nothing is mapped in it any more.
        let _ = unsafe { sys::cuMemAddressFree(self.base, self.size as usize) };
    }
}

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "device {}", self.0.location.id)
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "device {}", self.0.location.id)
    }
}

// SAFETY: these are plain values. The one pointer in the properties is null and never followed.
unsafe impl Send for Properties {}
// SAFETY: as above.
unsafe impl Sync for Properties {}

//! The driver's functions for virtual memory: reserve addresses, create physical memory, map it, set access,
//! unmap it. Growing heaps must keep the rules of this state machine.

use std::ffi::c_ulonglong;

use cudarc::driver::sys::{
    CUdeviceptr, CUmemAccessDesc, CUmemAllocationGranularity_flags, CUmemAllocationProp,
    CUmemGenericAllocationHandle, CUresult,
};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

use crate::memory::{pages, unpages};
use crate::state::{DEVICES, GRANULE, Mapping, Physical, Reservation, State, lock, status};

const BAD: CUresult = CUresult::CUDA_ERROR_INVALID_VALUE;

/// Returns the reservation that contains the whole range.
fn holder<'a>(
    state: &'a mut State,
    call: &str,
    start: u64,
    size: u64,
) -> Result<&'a mut Reservation, CUresult> {
    let inside = |state: &State| {
        let (base, found) = state.reservations.range(..=start).next_back()?;
        (start + size <= base + found.size).then_some(*base)
    };
    if !start.is_multiple_of(GRANULE) || !size.is_multiple_of(GRANULE) || size == 0 {
        return state.broken(call, "not whole granules", BAD);
    }
    match inside(state) {
        Some(base) => Ok(state.reservations.get_mut(&base).expect("just found")),
        None => state.broken(call, "outside every reservation", BAD),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetAllocationGranularity(
    out: *mut usize,
    _properties: *const CUmemAllocationProp,
    _option: CUmemAllocationGranularity_flags,
) -> CUresult {
    status(lock().enter("cuMemGetAllocationGranularity").map(|()| {
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *out = GRANULE as usize };
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAddressReserve(
    out: *mut CUdeviceptr,
    size: usize,
    _alignment: usize,
    _wanted: CUdeviceptr,
    _flags: c_ulonglong,
) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemAddressReserve").and_then(|()| {
        let size = size as u64;
        if size == 0 || !size.is_multiple_of(GRANULE) {
            return state.broken("cuMemAddressReserve", "not whole granules", BAD);
        }
        // The kernel aligns to pages only. So this maps one granule more and gives the edges back.
        let raw = pages(size + GRANULE, false)?;
        let start = raw.next_multiple_of(GRANULE);
        if start > raw {
            unpages(raw, start - raw);
        }
        let end = start + size;
        if raw + size + GRANULE > end {
            unpages(end, raw + size + GRANULE - end);
        }
        let mappings = Default::default();
        state.reservations.insert(start, Reservation { size, mappings });
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *out = start };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAddressFree(start: CUdeviceptr, size: usize) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemAddressFree").and_then(|()| match state.reservations.get(&start) {
        Some(found) if found.size != size as u64 => {
            state.broken("cuMemAddressFree", "another size than reserved", BAD)
        }
        Some(found) if !found.mappings.is_empty() => {
            state.broken("cuMemAddressFree", "something is still mapped", BAD)
        }
        Some(_) => {
            state.reservations.remove(&start);
            unpages(start, size as u64);
            Ok(())
        }
        None => state.broken("cuMemAddressFree", "not reserved", BAD),
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemCreate(
    out: *mut CUmemGenericAllocationHandle,
    size: usize,
    properties: *const CUmemAllocationProp,
    _flags: c_ulonglong,
) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemCreate").and_then(|()| {
        let size = size as u64;
        if size == 0 || !size.is_multiple_of(GRANULE) {
            return state.broken("cuMemCreate", "not whole granules", BAD);
        }
        // SAFETY: the caller passes a valid pointer, as to the driver.
        let device = unsafe { (*properties).location.id } as usize;
        if device >= DEVICES {
            return Err(CUresult::CUDA_ERROR_INVALID_DEVICE);
        }
        state.take(device, size)?;
        let handle = state.next_handle;
        state.next_handle += 1;
        let physical = Physical { device, size, released: false, mapped: false };
        state.physical.insert(handle, physical);
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *out = handle };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemRelease(handle: CUmemGenericAllocationHandle) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemRelease").and_then(|()| {
        match state.physical.get_mut(&handle) {
            Some(physical) if !physical.released => physical.released = true,
            _ => return state.broken("cuMemRelease", "not a live handle", BAD),
        }
        state.settle(handle);
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemMap(
    start: CUdeviceptr,
    size: usize,
    offset: usize,
    handle: CUmemGenericAllocationHandle,
    _flags: c_ulonglong,
) -> CUresult {
    let mut state = lock();
    let size = size as u64;
    status(state.enter("cuMemMap").and_then(|()| {
        let whole = state.physical.get(&handle);
        if offset != 0 || !whole.is_some_and(|p| p.size == size && !p.released && !p.mapped) {
            return state.broken("cuMemMap", "not the whole of a live, unmapped handle", BAD);
        }
        let found = holder(&mut state, "cuMemMap", start, size)?;
        let before = found.mappings.range(..start + size).next_back();
        if before.is_some_and(|(base, m)| base + m.size > start) {
            return state.broken("cuMemMap", "something is mapped there already", BAD);
        }
        let mapping = Mapping { size, handle, accessible: false };
        found.mappings.insert(start, mapping);
        state.physical.get_mut(&handle).expect("checked").mapped = true;
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemSetAccess(
    start: CUdeviceptr,
    size: usize,
    _descriptions: *const CUmemAccessDesc,
    count: usize,
) -> CUresult {
    let mut state = lock();
    let size = size as u64;
    status(state.enter("cuMemSetAccess").and_then(|()| {
        let found = holder(&mut state, "cuMemSetAccess", start, size)?;
        let mut covered = start;
        for (&base, mapping) in found.mappings.range(start..start + size) {
            if base == covered {
                covered += mapping.size;
            }
        }
        if covered != start + size || count == 0 {
            return state.broken("cuMemSetAccess", "not whole mappings without gaps", BAD);
        }
        for (_, mapping) in found.mappings.range_mut(start..start + size) {
            mapping.accessible = true;
        }
        let pages = std::ptr::with_exposed_provenance_mut(start as usize);
        let open = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the pages are part of our own reservation.
        unsafe { mprotect(pages, size as usize, open) }.map_err(|_| CUresult::CUDA_ERROR_OUT_OF_MEMORY)
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemUnmap(start: CUdeviceptr, size: usize) -> CUresult {
    let mut state = lock();
    let size = size as u64;
    status(state.enter("cuMemUnmap").and_then(|()| {
        if state.streams.values().any(|s| !s.pending.is_empty()) {
            return state.broken("cuMemUnmap", "work is in flight", BAD);
        }
        let found = holder(&mut state, "cuMemUnmap", start, size)?;
        match found.mappings.get(&start) {
            Some(mapping) if mapping.size == size => {}
            _ => return state.broken("cuMemUnmap", "not exactly one mapping", BAD),
        }
        let mapping = found.mappings.remove(&start).expect("checked");
        let pages = std::ptr::with_exposed_provenance_mut(start as usize);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: this replaces pages of our own reservation. The new pages are empty and allow no access.
        unsafe { mmap_anonymous(pages, size as usize, ProtFlags::empty(), flags) }
            .map_err(|_| CUresult::CUDA_ERROR_UNKNOWN)?;
        if let Some(physical) = state.physical.get_mut(&mapping.handle) {
            physical.mapped = false;
        }
        state.settle(mapping.handle);
        Ok(())
    }))
}

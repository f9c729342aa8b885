//! The driver's functions for plain blocks, pinned host memory, fills and copies.

use std::ffi::{c_uchar, c_uint, c_void};

use cudarc::driver::sys::{CUdevice, CUdeviceptr, CUmemPool_attribute, CUmemoryPool, CUresult, CUstream};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::contexts::current;
use crate::state::{State, lock, status};

/// Maps new pages of the host. The double's addresses are host addresses.
pub(crate) fn pages(size: u64, access: bool) -> Result<u64, CUresult> {
    let protection = if access { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::empty() };
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: the pages are new, and the kernel chooses their address.
    unsafe { mmap_anonymous(std::ptr::null_mut(), size as usize, protection, flags) }
        .map(|start| start.expose_provenance() as u64)
        .map_err(|_| CUresult::CUDA_ERROR_OUT_OF_MEMORY)
}

/// Gives pages back.
pub(crate) fn unpages(start: u64, size: u64) {
    let start = std::ptr::with_exposed_provenance_mut(start as usize);
    // SAFETY: this library mapped the pages, and nothing uses them any more.
    let _ = unsafe { munmap(start, size as usize) };
}

fn accessible(state: &State, start: u64, len: u64) -> bool {
    let end = start + len;
    let in_block = |(&base, &(size, _)): (&u64, &(u64, usize))| base <= start && end <= base + size;
    if state.blocks.iter().any(in_block) {
        return true;
    }
    let mut at = start;
    for (_, reservation) in state.reservations.range(..=start).rev().take(1) {
        for (&base, mapping) in reservation.mappings.range(..end) {
            if mapping.accessible && base <= at && at < base + mapping.size {
                at = base + mapping.size;
            }
        }
    }
    at >= end
}

fn touch(call: &'static str, start: u64, len: u64) -> Result<*mut u8, CUresult> {
    let mut state = lock();
    state.enter(call)?;
    current(&mut state, call)?;
    if !accessible(&state, start, len) {
        let bad = CUresult::CUDA_ERROR_INVALID_VALUE;
        return state.broken(call, "the range is not mapped with access", bad);
    }
    Ok(std::ptr::with_exposed_provenance_mut(start as usize))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemGetInfo").and_then(|()| {
        let device = current(&mut state, "cuMemGetInfo")?;
        // SAFETY: the caller passes valid pointers, as to the driver.
        unsafe {
            *free = (state.settings.memory - state.used[device]) as usize;
            *total = state.settings.memory as usize;
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(out: *mut CUdeviceptr, size: usize) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemAlloc").and_then(|()| {
        let device = current(&mut state, "cuMemAlloc")?;
        if size == 0 {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        let size = (size as u64).next_multiple_of(512);
        state.take(device, size)?;
        let start = pages(size, true)?;
        state.blocks.insert(start, (size, device));
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *out = start };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFree_v2(start: CUdeviceptr) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemFree").and_then(|()| {
        current(&mut state, "cuMemFree")?;
        let Some((size, device)) = state.blocks.remove(&start) else {
            let bad = CUresult::CUDA_ERROR_INVALID_VALUE;
            return state.broken("cuMemFree", "not a live block", bad);
        };
        state.used[device] -= size;
        unpages(start, size);
        Ok(())
    }))
}

/// Allocates in stream order. The driver promises only the order, and plain allocation keeps it.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(out: *mut CUdeviceptr, size: usize, _stream: CUstream) -> CUresult {
    // SAFETY: the caller keeps the contract of this function.
    unsafe { cuMemAlloc_v2(out, size) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeAsync(start: CUdeviceptr, _stream: CUstream) -> CUresult {
    // SAFETY: the caller keeps the contract of this function.
    unsafe { cuMemFree_v2(start) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetDefaultMemPool(out: *mut CUmemoryPool, _device: CUdevice) -> CUresult {
    status(lock().enter("cuDeviceGetDefaultMemPool").map(|()| {
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *out = std::ptr::without_provenance_mut(1) };
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemPoolSetAttribute(
    _pool: CUmemoryPool,
    _attribute: CUmemPool_attribute,
    _value: *mut c_void,
) -> CUresult {
    status(lock().enter("cuMemPoolSetAttribute"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD8_v2(start: CUdeviceptr, byte: c_uchar, len: usize) -> CUresult {
    status(touch("cuMemsetD8", start, len as u64).map(|to| {
        // SAFETY: `touch` checked that the memory is mapped with access.
        unsafe { to.write_bytes(byte, len) };
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoD_v2(to: CUdeviceptr, from: CUdeviceptr, len: usize) -> CUresult {
    let both = touch("cuMemcpyDtoD", to, len as u64)
        .and_then(|to| touch("cuMemcpyDtoD", from, len as u64).map(|from| (to, from)));
    status(both.map(|(to, from)| {
        // SAFETY: `touch` checked that both ranges are mapped with access.
        unsafe { to.cast::<u8>().copy_from(from.cast(), len) };
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, start: CUdeviceptr, len: usize) -> CUresult {
    status(touch("cuMemcpyDtoH", start, len as u64).map(|from| {
        // SAFETY: `touch` checked that the memory is mapped with access. The caller's buffer has the given
        // length.
        unsafe { to.cast::<u8>().copy_from(from, len) };
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(out: *mut *mut c_void, size: usize, _flags: c_uint) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemHostAlloc").and_then(|()| {
        current(&mut state, "cuMemHostAlloc")?;
        let start = pages(size as u64, true)?;
        state.host_blocks.insert(start, size as u64);
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *out = std::ptr::with_exposed_provenance_mut(start as usize) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostGetDevicePointer_v2(
    out: *mut CUdeviceptr,
    host: *mut c_void,
    _flags: c_uint,
) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemHostGetDevicePointer").and_then(|()| {
        current(&mut state, "cuMemHostGetDevicePointer")?;
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *out = host.expose_provenance() as u64 };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeHost(host: *mut c_void) -> CUresult {
    let mut state = lock();
    status(state.enter("cuMemFreeHost").and_then(|()| {
        current(&mut state, "cuMemFreeHost")?;
        let start = host.expose_provenance() as u64;
        let Some(size) = state.host_blocks.remove(&start) else {
            let bad = CUresult::CUDA_ERROR_INVALID_VALUE;
            return state.broken("cuMemFreeHost", "not a live block", bad);
        };
        unpages(start, size);
        Ok(())
    }))
}

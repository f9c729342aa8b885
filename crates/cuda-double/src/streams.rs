//! The driver's functions for streams. Work runs at once, unless a test holds the stream.

use std::ffi::{c_uint, c_ulonglong, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

use cudarc::driver::sys::{CUdeviceptr, CUhostFn, CUresult, CUstream, CUstreamCaptureStatus};

use crate::contexts::current;
use crate::state::{Locked, Work, lock, status};

/// Runs the work without holding the lock, because callbacks are code of the program.
pub(crate) fn run(work: Vec<Work>) {
    for item in work {
        match item {
            Work::Write { address, value } => {
                let at = std::ptr::with_exposed_provenance::<AtomicU64>(address as usize);
                // SAFETY: this is pinned memory, and the caller keeps it until the write has run.
                unsafe { &*at }.store(value, Ordering::Release);
            }
            Work::Call { function, data } => {
                // SAFETY: the function was stored from a CUhostFn below, and the caller keeps the data.
                unsafe {
                    let function: unsafe extern "C" fn(*mut c_void) =
                        std::mem::transmute(function as *const ());
                    function(std::ptr::with_exposed_provenance_mut(data));
                }
            }
        }
    }
}

fn submit(mut state: Locked, stream: CUstream, work: Work) -> Result<(), CUresult> {
    let queue = state.streams.entry(stream.addr()).or_default();
    queue.pending.push(work);
    let due = if queue.held { Vec::new() } else { std::mem::take(&mut queue.pending) };
    drop(state);
    run(due);
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamWriteValue64_v2(
    stream: CUstream,
    address: CUdeviceptr,
    value: c_ulonglong,
    _flags: c_uint,
) -> CUresult {
    let mut state = lock();
    status(state.enter("cuStreamWriteValue64").and_then(|()| {
        current(&mut state, "cuStreamWriteValue64")?;
        let capturing = state.streams.get(&stream.addr()).is_some_and(|s| s.capturing);
        if !state.settings.stream_writes || !address.is_multiple_of(8) || capturing {
            let bad = CUresult::CUDA_ERROR_INVALID_VALUE;
            let rule = "unsupported, unaligned or under capture";
            return state.broken("cuStreamWriteValue64", rule, bad);
        }
        submit(state, stream, Work::Write { address, value })
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchHostFunc(stream: CUstream, function: CUhostFn, data: *mut c_void) -> CUresult {
    let mut state = lock();
    status(state.enter("cuLaunchHostFunc").and_then(|()| {
        current(&mut state, "cuLaunchHostFunc")?;
        let Some(function) = function else {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        };
        let work = Work::Call { function: function as usize, data: data.expose_provenance() };
        submit(state, stream, work)
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamIsCapturing(stream: CUstream, out: *mut CUstreamCaptureStatus) -> CUresult {
    let mut state = lock();
    status(state.enter("cuStreamIsCapturing").map(|()| {
        let capturing = state.streams.get(&stream.addr()).is_some_and(|s| s.capturing);
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe {
            *out = if capturing {
                CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE
            } else {
                CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE
            };
        }
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamSynchronize(stream: CUstream) -> CUresult {
    let mut state = lock();
    status(state.enter("cuStreamSynchronize").map(|()| {
        let queue = state.streams.entry(stream.addr()).or_default();
        let due = std::mem::take(&mut queue.pending);
        drop(state);
        run(due);
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSynchronize() -> CUresult {
    let mut state = lock();
    status(state.enter("cuCtxSynchronize").and_then(|()| {
        current(&mut state, "cuCtxSynchronize")?;
        if state.streams.values().any(|s| s.capturing) {
            let bad = CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
            return state.broken("cuCtxSynchronize", "waiting breaks the capture of a graph", bad);
        }
        let due = state.streams.values_mut().flat_map(|s| std::mem::take(&mut s.pending)).collect();
        drop(state);
        run(due);
        Ok(())
    }))
}

//! The driver's functions for devices, contexts and error texts.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uint};

use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute, CUresult};

use crate::state::{DEVICES, State, lock, status};

thread_local! {
    /// The driver works until the process ends: in handlers of `atexit`, and in destructors of a thread that
    /// is ending. So this has no destructor, and is never gone.
    static CURRENT: Cell<Stack> = const { Cell::new(Stack { depth: 0, devices: [0; Stack::MOST] }) };
}

/// The devices whose contexts a thread has pushed, the current one last.
#[derive(Clone, Copy)]
struct Stack {
    depth: usize,
    devices: [u8; Self::MOST],
}

impl Stack {
    const MOST: usize = 64;

    fn current() -> Option<usize> {
        let stack = CURRENT.get();
        stack.depth.checked_sub(1).map(|top| stack.devices[top].into())
    }

    /// Returns whether there was room.
    fn push(device: usize) -> bool {
        let mut stack = CURRENT.get();
        let room = stack.depth < Self::MOST;
        if room {
            stack.devices[stack.depth] = device as u8;
            stack.depth += 1;
            CURRENT.set(stack);
        }
        room
    }

    fn pop() -> Option<usize> {
        let top = Self::current()?;
        let mut stack = CURRENT.get();
        stack.depth -= 1;
        CURRENT.set(stack);
        Some(top)
    }
}

/// Returns the handle of a device's context: the number of the device plus one, as a pointer.
fn handle(device: usize) -> CUcontext {
    std::ptr::without_provenance_mut(device + 1)
}

/// Returns the device whose context is current on this thread, or the driver's error.
pub(crate) fn current(state: &mut State, call: &str) -> Result<usize, CUresult> {
    match Stack::current() {
        Some(device) if state.retained[device] > 0 => Ok(device),
        _ => state.broken(call, "no context is current", CUresult::CUDA_ERROR_INVALID_CONTEXT),
    }
}

fn device(number: CUdevice) -> Result<usize, CUresult> {
    usize::try_from(number).ok().filter(|&n| n < DEVICES).ok_or(CUresult::CUDA_ERROR_INVALID_DEVICE)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuInit(_flags: c_uint) -> CUresult {
    let mut state = lock();
    state.initialised = true;
    status(state.enter("cuInit"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> CUresult {
    // SAFETY: the caller passes a valid pointer, as to the driver.
    unsafe { *version = lock().settings.driver_version };
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: CUresult, name: *mut *const c_char) -> CUresult {
    let text: &'static CStr = match error {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => c"CUDA_ERROR_OUT_OF_MEMORY",
        CUresult::CUDA_ERROR_INVALID_VALUE => c"CUDA_ERROR_INVALID_VALUE",
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        _ => c"CUDA_ERROR_OTHER",
    };
    // SAFETY: the caller passes a valid pointer, as to the driver.
    unsafe { *name = text.as_ptr() };
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(_error: CUresult, text: *mut *const c_char) -> CUresult {
    // SAFETY: the caller passes a valid pointer, as to the driver.
    unsafe { *text = c"the test made this call fail".as_ptr() };
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> CUresult {
    status(lock().enter("cuDeviceGetCount").map(|()| {
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *count = DEVICES as c_int };
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(out: *mut CUdevice, ordinal: c_int) -> CUresult {
    status(lock().enter("cuDeviceGet").and_then(|()| {
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *out = device(ordinal)? as CUdevice };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(out: *mut c_char, len: c_int, number: CUdevice) -> CUresult {
    status(lock().enter("cuDeviceGetName").and_then(|()| {
        device(number)?;
        let name = c"Double";
        assert!(len as usize > name.count_bytes());
        // SAFETY: the caller's buffer is `len` long, and the name fits.
        unsafe { out.copy_from(name.as_ptr(), name.count_bytes() + 1) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: CUdevice_attribute,
    number: CUdevice,
) -> CUresult {
    use CUdevice_attribute as A;
    let mut state = lock();
    status(state.enter("cuDeviceGetAttribute").and_then(|()| {
        device(number)?;
        let answer = match attribute {
            A::CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED => state.settings.virtual_memory,
            A::CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS => state.settings.stream_writes,
            _ => false,
        };
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *value = c_int::from(answer) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, number: CUdevice) -> CUresult {
    let mut state = lock();
    status(state.enter("cuDeviceTotalMem").and_then(|()| {
        device(number)?;
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *bytes = state.settings.memory as usize };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceCanAccessPeer(can: *mut c_int, from: CUdevice, to: CUdevice) -> CUresult {
    status(lock().enter("cuDeviceCanAccessPeer").and_then(|()| {
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *can = c_int::from(device(from)? != device(to)?) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, number: CUdevice) -> CUresult {
    let mut state = lock();
    status(state.enter("cuDevicePrimaryCtxRetain").and_then(|()| {
        let device = device(number)?;
        state.retained[device] += 1;
        // SAFETY: the caller passes a valid pointer, as to the driver.
        unsafe { *context = handle(device) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(number: CUdevice) -> CUresult {
    let mut state = lock();
    status(state.enter("cuDevicePrimaryCtxRelease").and_then(|()| {
        let device = device(number)?;
        if state.retained[device] == 0 {
            let bad = CUresult::CUDA_ERROR_INVALID_CONTEXT;
            return state.broken("cuDevicePrimaryCtxRelease", "not retained", bad);
        }
        state.retained[device] -= 1;
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut CUcontext) -> CUresult {
    // SAFETY: the caller passes a valid pointer, as to the driver.
    unsafe { *context = Stack::current().map_or(std::ptr::null_mut(), handle) };
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPushCurrent_v2(context: CUcontext) -> CUresult {
    let mut state = lock();
    status(state.enter("cuCtxPushCurrent").and_then(|()| {
        let device = context.addr().wrapping_sub(1);
        if device >= DEVICES || state.retained[device] == 0 {
            let bad = CUresult::CUDA_ERROR_INVALID_CONTEXT;
            return state.broken("cuCtxPushCurrent", "not a live context", bad);
        }
        if Stack::push(device) {
            return Ok(());
        }
        state.broken("cuCtxPushCurrent", "too many contexts on one thread", CUresult::CUDA_ERROR_UNKNOWN)
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPopCurrent_v2(context: *mut CUcontext) -> CUresult {
    let mut state = lock();
    status(state.enter("cuCtxPopCurrent").and_then(|()| {
        match Stack::pop() {
            Some(device) => {
                // SAFETY: the caller passes a valid pointer, as to the driver.
                unsafe { *context = handle(device) };
                Ok(())
            }
            None => {
                let bad = CUresult::CUDA_ERROR_INVALID_CONTEXT;
                state.broken("cuCtxPopCurrent", "nothing to pop", bad)
            }
        }
    }))
}

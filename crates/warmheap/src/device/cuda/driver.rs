//! Loads the driver library once, and turns its status codes into errors.
//!
//! The bindings panic if the library or a function is missing. So [`load`] checks for both before anything
//! else in this folder may call them.

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUresult};

use crate::device::DeviceError;

/// The oldest driver that works: CUDA 12.0, in the driver's own numbering.
const OLDEST: c_int = 12_000;

/// Every function that this backend calls. If one is missing, the driver is too old.
const FUNCTIONS: &[&str] = &[
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDeviceCanAccessPeer",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxGetCurrent",
    "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2",
    "cuCtxSynchronize",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemAllocAsync",
    "cuMemFreeAsync",
    "cuDeviceGetDefaultMemPool",
    "cuMemPoolSetAttribute",
    "cuMemsetD8_v2",
    "cuMemcpyDtoD_v2",
    "cuMemHostAlloc",
    "cuMemHostGetDevicePointer_v2",
    "cuMemFreeHost",
    "cuMemGetAllocationGranularity",
    "cuMemAddressReserve",
    "cuMemAddressFree",
    "cuMemCreate",
    "cuMemRelease",
    "cuMemMap",
    "cuMemUnmap",
    "cuMemSetAccess",
    "cuStreamSynchronize",
    "cuStreamIsCapturing",
    "cuStreamWriteValue64_v2",
    "cuLaunchHostFunc",
];

/// Loads and initialises the driver, once per process.
pub(super) fn load() -> Result<(), DeviceError> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(find).clone().map_err(unavailable)
}

/// Returns the error that there is no usable CUDA device, with the reason.
pub(super) fn unavailable(reason: String) -> DeviceError {
    DeviceError::Unavailable { device: "CUDA", reason }
}

fn find() -> Result<(), String> {
    // SAFETY: this opens and closes shared libraries by name. Their initialisers are the driver's own.
    if !unsafe { sys::is_culib_present() } {
        return Err("the driver library was not found (tried libcuda.so, libcuda.so.1 and nvcuda in the \
             loader's search path); install the NVIDIA driver or set LD_LIBRARY_PATH to its folder"
            .into());
    }
    // SAFETY: the check above found the library, so this cannot panic.
    let library = unsafe { sys::culib() };
    for name in FUNCTIONS {
        // SAFETY: this only looks up the symbol, and never calls it through this type.
        if unsafe { library.get::<*const ()>(name.as_bytes()) }.is_err() {
            return Err(format!(
                "the driver library has no {name}; a driver for CUDA 12.0 or newer is needed"
            ));
        }
    }
    let mut version: c_int = 0;
    // SAFETY: the pointer is to a local, and the function may be called before cuInit.
    let status = unsafe { sys::cuDriverGetVersion(&mut version) };
    check("cuDriverGetVersion", status).map_err(|e| e.to_string())?;
    if version < OLDEST {
        return Err(format!(
            "the driver is for CUDA {}.{}; one for CUDA 12.0 or newer is needed",
            version / 1000,
            version % 1000 / 10
        ));
    }
    // SAFETY: 0 is the only valid value of the flags.
    check("cuInit", unsafe { sys::cuInit(0) }).map_err(|e| e.to_string())
}

/// Turns the driver's status into a result.
pub(super) fn check(call: &'static str, status: CUresult) -> Result<(), DeviceError> {
    use CUresult as R;
    match status {
        R::CUDA_SUCCESS => Ok(()),
        // The caller knows the requested size and fills the figures in.
        R::CUDA_ERROR_OUT_OF_MEMORY => Err(DeviceError::OutOfMemory { requested: 0, available: None }),
        R::CUDA_ERROR_NOT_SUPPORTED => Err(DeviceError::Unsupported { what: call }),
        status if is_sticky(status) => {
            Err(DeviceError::Lost { reason: format!("{call}: {}", describe(status)) })
        }
        status => Err(DeviceError::Failed { call, reason: describe(status) }),
    }
}

/// Returns whether the status outlives the call. The context then returns it from every later call.
fn is_sticky(status: CUresult) -> bool {
    use CUresult as R;
    matches!(
        status,
        R::CUDA_ERROR_DEINITIALIZED
            | R::CUDA_ERROR_ECC_UNCORRECTABLE
            | R::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | R::CUDA_ERROR_ILLEGAL_ADDRESS
            | R::CUDA_ERROR_LAUNCH_TIMEOUT
            | R::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | R::CUDA_ERROR_ASSERT
            | R::CUDA_ERROR_HARDWARE_STACK_ERROR
            | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | R::CUDA_ERROR_MISALIGNED_ADDRESS
            | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | R::CUDA_ERROR_INVALID_PC
            | R::CUDA_ERROR_LAUNCH_FAILED
    )
}

/// Returns the driver's name and text for a status.
fn describe(status: CUresult) -> String {
    let mut name: *const c_char = std::ptr::null();
    let mut text: *const c_char = std::ptr::null();
    // SAFETY: both calls write a pointer to a static string, or leave null for an unknown status.
    let words = unsafe {
        let _ = sys::cuGetErrorName(status, &mut name);
        let _ = sys::cuGetErrorString(status, &mut text);
        [name, text].map(|p| (!p.is_null()).then(|| CStr::from_ptr(p).to_string_lossy()))
    };
    match words {
        [Some(name), Some(text)] => format!("{text} ({name})"),
        _ => format!("status {}", status as u32),
    }
}

//! The driver library: found once, and its answers turned into errors.
//!
//! The bindings panic when the library or a function is missing, so [`load`] proves that both are
//! there before anything else in this folder may call them.

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUresult};

use crate::device::DeviceError;

/// CUDA 12.0, as the driver numbers itself.
const OLDEST: c_int = 12_000;

/// Every function this backend calls. One missing means a driver too old to use.
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

/// Finds and initialises the driver, once per process.
pub(super) fn load() -> Result<(), DeviceError> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(find).clone().map_err(unavailable)
}

/// "No CUDA device here", with the reason.
pub(super) fn unavailable(reason: String) -> DeviceError {
    DeviceError::Unavailable { device: "CUDA", reason }
}

fn find() -> Result<(), String> {
    // SAFETY: opens and closes shared libraries by name; their initialisers are the driver's own.
    if !unsafe { sys::is_culib_present() } {
        return Err("the driver library was not found (tried libcuda.so, libcuda.so.1 and nvcuda in the \
             loader's search path); install the NVIDIA driver or set LD_LIBRARY_PATH to its folder"
            .into());
    }
    // SAFETY: present, by the check above, so this cannot panic.
    let library = unsafe { sys::culib() };
    for name in FUNCTIONS {
        // SAFETY: the symbol is only looked for, never called through this type.
        if unsafe { library.get::<*const ()>(name.as_bytes()) }.is_err() {
            return Err(format!(
                "the driver library has no {name}; a driver for CUDA 12.0 or newer is needed"
            ));
        }
    }
    let mut version: c_int = 0;
    // SAFETY: the pointer is to a local; the function may be called before cuInit.
    let status = unsafe { sys::cuDriverGetVersion(&mut version) };
    check("cuDriverGetVersion", status).map_err(|e| e.to_string())?;
    if version < OLDEST {
        return Err(format!(
            "the driver is for CUDA {}.{}; one for CUDA 12.0 or newer is needed",
            version / 1000,
            version % 1000 / 10
        ));
    }
    // SAFETY: 0 is the only flag value there is.
    check("cuInit", unsafe { sys::cuInit(0) }).map_err(|e| e.to_string())
}

/// The driver's answer as a result.
pub(super) fn check(call: &'static str, status: CUresult) -> Result<(), DeviceError> {
    use CUresult as R;
    match status {
        R::CUDA_SUCCESS => Ok(()),
        // The caller knows what it asked for and fills the figures in.
        R::CUDA_ERROR_OUT_OF_MEMORY => Err(DeviceError::OutOfMemory { requested: 0, available: None }),
        R::CUDA_ERROR_NOT_SUPPORTED => Err(DeviceError::Unsupported { what: call }),
        status if is_sticky(status) => {
            Err(DeviceError::Lost { reason: format!("{call}: {}", describe(status)) })
        }
        status => Err(DeviceError::Failed { call, reason: describe(status) }),
    }
}

/// Whether this status outlives the call: the context answers nothing else from then on.
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

/// The driver's name and words for a status.
fn describe(status: CUresult) -> String {
    let mut name: *const c_char = std::ptr::null();
    let mut text: *const c_char = std::ptr::null();
    // SAFETY: both write a pointer to a static string, or leave null for an unknown status.
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

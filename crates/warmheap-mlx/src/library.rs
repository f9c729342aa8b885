//! Functions of libraries that the process has loaded already. This module loads nothing.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::path::Path;

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

use crate::error::InstallError;

/// The C++ runtime, which has the exceptions that MLX throws.
#[cfg(target_vendor = "apple")]
const RUNTIME: &str = "/usr/lib/libc++.1.dylib";
#[cfg(not(target_vendor = "apple"))]
const RUNTIME: &str = "libstdc++.so.6";

type Destructor = unsafe extern "C" fn(*mut c_void);

/// Opens `file` if it is loaded.
pub(crate) fn loaded(file: &Path) -> Option<Library> {
    // SAFETY: with this flag the call loads nothing and runs no initialiser.
    unsafe { Library::open(Some(file), RTLD_LAZY | RTLD_LOCAL | libc::RTLD_NOLOAD) }.ok()
}

/// Returns the function `symbol` of `library`, which is `file`.
///
/// # Safety
/// `T` is the type of a pointer to that function. The library stays loaded while the function is called.
pub(crate) unsafe fn function<T: Copy>(
    library: &Library,
    file: &Path,
    symbol: &'static str,
) -> Result<T, InstallError> {
    // SAFETY: the caller vouches for the type.
    let found = unsafe { library.get::<T>(symbol.as_bytes()) };
    found.map(|found| *found).map_err(|_| InstallError::NoFunction { library: file.into(), symbol })
}

/// Returns where the library that has `address` begins, or `None` if no library has it.
pub(crate) fn base_of(address: *const c_void) -> Option<*const c_void> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` reads no memory at `address`, and fills `info` if it returns something else than 0.
    let info =
        unsafe { (libc::dladdr(address, info.as_mut_ptr()) as c_int != 0).then(|| info.assume_init()) };
    info.map(|info| info.dli_fbase.cast_const()).filter(|base| !base.is_null())
}

/// Throws `std::runtime_error` with `message`, as MLX does when memory is out. Returns only in a process without
/// the C++ runtime. Only functions of the `C-unwind` ABI may call this, outside any `catch_unwind`.
pub(crate) fn throw_runtime_error(message: &str) {
    /// `std::runtime_error` takes two pointers in both runtimes.
    const BYTES: usize = 16;
    let Some(runtime) = loaded(Path::new(RUNTIME)) else { return };
    let Ok(text) = CString::new(message) else { return };
    // SAFETY: these are the runtime's functions with their true types, and it stays loaded for its other users.
    // The rest is what a C++ compiler generates for `throw std::runtime_error(text)`. The constructor copies the
    // text. What is alive here is dropped before the throw, which does not return.
    unsafe {
        let Ok(class) = runtime.get::<*const c_void>(b"_ZTISt13runtime_error").map(|found| *found) else {
            return;
        };
        let Ok(make) = runtime
            .get::<unsafe extern "C" fn(*mut c_void, *const c_char)>(b"_ZNSt13runtime_errorC1EPKc")
            .map(|found| *found)
        else {
            return;
        };
        let Ok(destroy) = runtime.get::<Destructor>(b"_ZNSt13runtime_errorD1Ev").map(|found| *found) else {
            return;
        };
        let Ok(allocate) = runtime
            .get::<unsafe extern "C" fn(usize) -> *mut c_void>(b"__cxa_allocate_exception")
            .map(|found| *found)
        else {
            return;
        };
        let Ok(throw) = runtime
            .get::<unsafe extern "C-unwind" fn(*mut c_void, *const c_void, Destructor) -> !>(b"__cxa_throw")
            .map(|found| *found)
        else {
            return;
        };
        let exception = allocate(BYTES);
        make(exception, text.as_ptr());
        drop(text);
        drop(runtime);
        throw(exception, class, destroy)
    }
}

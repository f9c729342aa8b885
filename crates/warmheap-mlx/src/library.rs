//! Functions of libraries that the process has loaded already. This module loads nothing.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::path::Path;

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

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

/// Returns the symbol `name` of `library`.
///
/// # Safety
/// `T` is the type of a pointer to what the name stands for. The library stays loaded while that is used.
pub(crate) unsafe fn symbol<T: Copy>(library: &Library, name: &str) -> Option<T> {
    // SAFETY: the caller vouches for the type.
    unsafe { library.get::<T>(name.as_bytes()) }.ok().map(|found| *found)
}

/// Returns where the library that has `address` begins, or `None` if no library has it.
pub(crate) fn base_of(address: *const c_void) -> Option<*const c_void> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `dladdr` reads no memory at `address`, and fills `info` if it returns something else than 0.
    let info =
        unsafe { (libc::dladdr(address, info.as_mut_ptr()) as c_int != 0).then(|| info.assume_init()) };
    info.map(|info| info.dli_fbase.cast_const()).filter(|base| !base.is_null())
}

/// The C++ functions and objects that make up a `std::runtime_error`.
struct RuntimeError {
    class: *const c_void,
    make: unsafe extern "C" fn(*mut c_void, *const c_char),
    destroy: Destructor,
    allocate: unsafe extern "C" fn(usize) -> *mut c_void,
    throw: unsafe extern "C-unwind" fn(*mut c_void, *const c_void, Destructor) -> !,
}

impl RuntimeError {
    fn find() -> Option<Self> {
        let runtime = loaded(Path::new(RUNTIME))?;
        // SAFETY: these are the runtime's symbols with their true types, and it stays loaded for its other users.
        unsafe {
            Some(Self {
                class: symbol(&runtime, "_ZTISt13runtime_error")?,
                make: symbol(&runtime, "_ZNSt13runtime_errorC1EPKc")?,
                destroy: symbol(&runtime, "_ZNSt13runtime_errorD1Ev")?,
                allocate: symbol(&runtime, "__cxa_allocate_exception")?,
                throw: symbol(&runtime, "__cxa_throw")?,
            })
        }
    }
}

/// Throws `std::runtime_error` with `message`, as MLX does when memory is out. Returns only in a process without
/// the C++ runtime. Only functions of the `C-unwind` ABI may call this, outside any `catch_unwind`.
pub(crate) fn throw_runtime_error(message: &str) {
    /// `std::runtime_error` takes two pointers in both runtimes.
    const BYTES: usize = 16;
    let (Some(error), Ok(text)) = (RuntimeError::find(), CString::new(message)) else { return };
    // SAFETY: this is what a C++ compiler generates for `throw std::runtime_error(text)`. The constructor copies
    // the text. What is alive here is dropped before the throw, which does not return.
    unsafe {
        let exception = (error.allocate)(BYTES);
        (error.make)(exception, text.as_ptr());
        drop(text);
        (error.throw)(exception, error.class, error.destroy)
    }
}

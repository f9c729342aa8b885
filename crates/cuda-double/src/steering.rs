//! How a test loads the double and tells it what to do.
//!
//! The shared library has a state of its own, apart from the copy of this code inside the test, so
//! everything goes through functions it exports.

use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;

use cudarc::driver::sys::CUresult;
use libloading::Library;

use crate::state::lock;
use crate::streams::run;

/// Where the shared library is, for processes of their own: loaded first (`LD_PRELOAD`), it is the
/// driver there.
///
/// # Panics
/// Outside of tests and programs that Cargo built beside it.
#[must_use]
pub fn library() -> PathBuf {
    let program = std::env::current_exe().expect("a test has a path");
    let folders = program.ancestors().skip(1).take(2);
    let mut places = folders.map(|folder| folder.join("libcuda_double.so"));
    places.find(|path| path.exists()).expect("the double is built with this crate")
}

/// The loaded double. One per process; its state is shared by all tests of the process.
#[derive(Debug)]
pub struct Double(Library);

impl Double {
    /// Loads the double in place of the driver; call before anything asks for CUDA.
    ///
    /// # Panics
    /// When the shared library was not built beside the test.
    #[must_use]
    pub fn install() -> Self {
        // SAFETY: our own library; it has no initialisers.
        Self(unsafe { Library::new(library()) }.expect("the double is built with this crate"))
    }

    /// Makes the `nth` call of `function` from now on (1 is the next) answer `status`.
    pub fn fail(&self, function: &str, nth: u64, status: CUresult) {
        let function = CString::new(function).expect("no zero bytes in a function's name");
        let call = self.function::<unsafe extern "C" fn(*const c_char, u64, CUresult)>("double_fail");
        // SAFETY: the exported function of this type below.
        unsafe { call(function.as_ptr(), nth, status) }
    }

    /// Takes back all orders to fail that have not come due.
    pub fn forget_failures(&self) {
        // SAFETY: the exported function of this type below.
        unsafe { self.function::<unsafe extern "C" fn()>("double_forget")() }
    }

    /// How often `function` was called.
    #[must_use]
    pub fn calls(&self, function: &str) -> u64 {
        let function = CString::new(function).expect("no zero bytes in a function's name");
        let call = self.function::<unsafe extern "C" fn(*const c_char) -> u64>("double_calls");
        // SAFETY: the exported function of this type below.
        unsafe { call(function.as_ptr()) }
    }

    /// Settings of all devices: bytes of memory, and whether they have virtual memory management
    /// and streams that write values.
    pub fn configure(&self, memory: u64, virtual_memory: bool, stream_writes: bool) {
        let call = self.function::<unsafe extern "C" fn(u64, bool, bool)>("double_configure");
        // SAFETY: the exported function of this type below.
        unsafe { call(memory, virtual_memory, stream_writes) }
    }

    /// The CUDA version the driver claims, as it numbers it: 12.4 is 12040.
    pub fn set_driver_version(&self, version: i32) {
        let call = self.function::<unsafe extern "C" fn(i32)>("double_version");
        // SAFETY: the exported function of this type below.
        unsafe { call(version) }
    }

    /// Keeps work on `stream` from running, until `hold` is false again.
    pub fn hold(&self, stream: usize, hold: bool) {
        let call = self.function::<unsafe extern "C" fn(usize, bool)>("double_hold");
        // SAFETY: the exported function of this type below.
        unsafe { call(stream, hold) }
    }

    /// Pretends that a graph is being captured on `stream`.
    pub fn capture(&self, stream: usize, capturing: bool) {
        let call = self.function::<unsafe extern "C" fn(usize, bool)>("double_capture");
        // SAFETY: the exported function of this type below.
        unsafe { call(stream, capturing) }
    }

    /// Everything not given back: blocks, pinned blocks, reservations, physical allocations and
    /// retained contexts.
    #[must_use]
    pub fn live_objects(&self) -> u64 {
        // SAFETY: the exported function of this type below.
        unsafe { self.function::<unsafe extern "C" fn() -> u64>("double_live")() }
    }

    /// Bytes of memory taken on `device`.
    #[must_use]
    pub fn used(&self, device: usize) -> u64 {
        // SAFETY: the exported function of this type below.
        unsafe { self.function::<unsafe extern "C" fn(usize) -> u64>("double_used")(device) }
    }

    /// The rules that were broken so far, one a line, and forgets them.
    #[must_use]
    pub fn violations(&self) -> String {
        let call = self.function::<unsafe extern "C" fn() -> *mut c_char>("double_violations");
        // SAFETY: the exported function below gives a C string from CString::into_raw of the same
        // allocator: both copies of this code use the system's.
        unsafe { CStr::from_ptr(call()) }.to_string_lossy().into_owned()
    }

    fn function<F: Copy>(&self, name: &str) -> F {
        // SAFETY: each caller names the type of the exported function below.
        *unsafe { self.0.get::<F>(name.as_bytes()) }.expect("exported below")
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn double_fail(function: *const c_char, nth: u64, status: CUresult) {
    // SAFETY: a C string from `Double::fail`.
    let name = unsafe { CStr::from_ptr(function) }.to_string_lossy();
    lock().failures.push((name.into_owned(), nth, status));
}

#[unsafe(no_mangle)]
extern "C" fn double_forget() {
    lock().failures.clear();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn double_calls(function: *const c_char) -> u64 {
    // SAFETY: a C string from `Double::calls`.
    let name = unsafe { CStr::from_ptr(function) }.to_string_lossy();
    lock().calls.get(name.as_ref()).copied().unwrap_or(0)
}

#[unsafe(no_mangle)]
extern "C" fn double_configure(memory: u64, virtual_memory: bool, stream_writes: bool) {
    let settings = &mut lock().settings;
    settings.memory = memory;
    settings.virtual_memory = virtual_memory;
    settings.stream_writes = stream_writes;
}

#[unsafe(no_mangle)]
extern "C" fn double_version(version: i32) {
    lock().settings.driver_version = version;
}

#[unsafe(no_mangle)]
extern "C" fn double_hold(stream: usize, hold: bool) {
    let mut state = lock();
    let queue = state.streams.entry(stream).or_default();
    queue.held = hold;
    let due = if hold { Vec::new() } else { std::mem::take(&mut queue.pending) };
    drop(state);
    run(due);
}

#[unsafe(no_mangle)]
extern "C" fn double_capture(stream: usize, capturing: bool) {
    lock().streams.entry(stream).or_default().capturing = capturing;
}

#[unsafe(no_mangle)]
extern "C" fn double_live() -> u64 {
    let state = lock();
    let objects =
        state.blocks.len() + state.host_blocks.len() + state.reservations.len() + state.physical.len();
    objects as u64 + state.retained.iter().sum::<i64>().unsigned_abs()
}

#[unsafe(no_mangle)]
extern "C" fn double_used(device: usize) -> u64 {
    lock().used.get(device).copied().unwrap_or(0)
}

#[unsafe(no_mangle)]
extern "C" fn double_violations() -> *mut c_char {
    let text = std::mem::take(&mut lock().violations).join("\n");
    CString::new(text).unwrap_or_default().into_raw()
}

//! Loads and steers the double from a test.
//!
//! The shared library has its own state, apart from the copy of this code inside the test. So a test steers
//! it through exported functions only.

use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;

use cudarc::driver::sys::CUresult;
use libloading::Library;

use crate::state::lock;
use crate::streams::run;

/// Returns the path of the shared library. Another process that loads it first (`LD_PRELOAD`) has it as its
/// driver.
///
/// # Panics
/// Panics outside of tests and programs that Cargo built beside the library.
#[must_use]
pub fn library() -> PathBuf {
    let program = std::env::current_exe().expect("a test has a path");
    let folders = program.ancestors().skip(1).take(2);
    let mut places = folders.map(|folder| folder.join("libcuda_double.so"));
    places.find(|path| path.exists()).expect("the double is built with this crate")
}

/// The loaded double. A process has one, and all its tests share its state.
#[derive(Debug)]
pub struct Double(Library);

impl Double {
    /// Loads the double in place of the driver. Call it before anything uses CUDA.
    ///
    /// # Panics
    /// Panics if the shared library was not built beside the test.
    #[must_use]
    pub fn install() -> Self {
        // SAFETY: the library is this crate's own, and has no initialisers.
        Self(unsafe { Library::new(library()) }.expect("the double is built with this crate"))
    }

    /// Makes the `nth` call of `function` from now on (1 is the next) return `status`.
    pub fn fail(&self, function: &str, nth: u64, status: CUresult) {
        let function = CString::new(function).expect("no zero bytes in a function's name");
        let call = self.function::<unsafe extern "C" fn(*const c_char, u64, CUresult)>("double_fail");
        // SAFETY: the function below is exported with this type.
        unsafe { call(function.as_ptr(), nth, status) }
    }

    /// Cancels all failures that have not happened yet.
    pub fn forget_failures(&self) {
        // SAFETY: the function below is exported with this type.
        unsafe { self.function::<unsafe extern "C" fn()>("double_forget")() }
    }

    /// Returns how often `function` was called.
    #[must_use]
    pub fn calls(&self, function: &str) -> u64 {
        let function = CString::new(function).expect("no zero bytes in a function's name");
        let call = self.function::<unsafe extern "C" fn(*const c_char) -> u64>("double_calls");
        // SAFETY: the function below is exported with this type.
        unsafe { call(function.as_ptr()) }
    }

    /// Sets up all devices: their bytes of memory, and whether they have virtual memory management and
    /// streams that write values.
    pub fn configure(&self, memory: u64, virtual_memory: bool, stream_writes: bool) {
        let call = self.function::<unsafe extern "C" fn(u64, bool, bool)>("double_configure");
        // SAFETY: the function below is exported with this type.
        unsafe { call(memory, virtual_memory, stream_writes) }
    }

    /// Sets the CUDA version that the driver reports, in its own numbering: 12.4 is 12040.
    pub fn set_driver_version(&self, version: i32) {
        let call = self.function::<unsafe extern "C" fn(i32)>("double_version");
        // SAFETY: the function below is exported with this type.
        unsafe { call(version) }
    }

    /// Keeps work on `stream` from running, until `hold` is false again.
    pub fn hold(&self, stream: usize, hold: bool) {
        let call = self.function::<unsafe extern "C" fn(usize, bool)>("double_hold");
        // SAFETY: the function below is exported with this type.
        unsafe { call(stream, hold) }
    }

    /// Pretends that a graph is being captured on `stream`.
    pub fn capture(&self, stream: usize, capturing: bool) {
        let call = self.function::<unsafe extern "C" fn(usize, bool)>("double_capture");
        // SAFETY: the function below is exported with this type.
        unsafe { call(stream, capturing) }
    }

    /// Returns the number of objects that were not given back: blocks, pinned blocks, reservations, physical
    /// allocations and retained contexts.
    #[must_use]
    pub fn live_objects(&self) -> u64 {
        // SAFETY: the function below is exported with this type.
        unsafe { self.function::<unsafe extern "C" fn() -> u64>("double_live")() }
    }

    /// Returns the bytes of memory taken on `device`.
    #[must_use]
    pub fn used(&self, device: usize) -> u64 {
        // SAFETY: the function below is exported with this type.
        unsafe { self.function::<unsafe extern "C" fn(usize) -> u64>("double_used")(device) }
    }

    /// Returns the rules that were broken so far, one a line, and clears the list.
    #[must_use]
    pub fn violations(&self) -> String {
        let call = self.function::<unsafe extern "C" fn() -> *mut c_char>("double_violations");
        // SAFETY: the exported function below returns a C string from CString::into_raw. Both copies of this
        // code use the system's allocator.
        unsafe { CStr::from_ptr(call()) }.to_string_lossy().into_owned()
    }

    fn function<F: Copy>(&self, name: &str) -> F {
        // SAFETY: each caller passes the type of the exported function below.
        *unsafe { self.0.get::<F>(name.as_bytes()) }.expect("exported below")
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn double_fail(function: *const c_char, nth: u64, status: CUresult) {
    // SAFETY: `Double::fail` passes a C string.
    let name = unsafe { CStr::from_ptr(function) }.to_string_lossy();
    lock().failures.push((name.into_owned(), nth, status));
}

#[unsafe(no_mangle)]
extern "C" fn double_forget() {
    lock().failures.clear();
}

#[unsafe(no_mangle)]
unsafe extern "C" fn double_calls(function: *const c_char) -> u64 {
    // SAFETY: `Double::calls` passes a C string.
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

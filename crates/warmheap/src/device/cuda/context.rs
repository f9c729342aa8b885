//! A device's primary context. The CUDA runtime, and so every framework in the process, uses it too.
//!
//! The other files do everything inside [`Context::enter`]. It makes the context current for one call and
//! then restores the thread's context, because a process may use several devices from one thread.

use std::ffi::{CStr, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUstream, CUstreamCaptureStatus,
};

use super::driver::{self, check};
use crate::device::DeviceError;
use crate::fork::Process;

/// The alignment of the driver's blocks.
const NATURAL_ALIGNMENT: u64 = 256;

/// A retained primary context.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) ordinal: c_int,
    pub(super) name: String,
    pub(super) total: u64,
    device: CUdevice,
    handle: CUcontext,
    /// Whether a call has returned that the context is lost.
    lost: AtomicBool,
    /// The driver does not work in children of the process that opened it.
    process: Process,
}

// SAFETY: the driver's context handle may be used from any thread, and the rest is plain data.
unsafe impl Send for Context {}
// SAFETY: as above. The driver has its own locks.
unsafe impl Sync for Context {}

/// A guard. The context is current on this thread while the guard lives.
pub(super) struct Entered<'a> {
    context: &'a Context,
    pushed: bool,
}

impl Context {
    /// Retains the primary context of device `ordinal`.
    pub(super) fn open(ordinal: u32) -> Result<Self, DeviceError> {
        let count = device_count()?;
        let ordinal = match c_int::try_from(ordinal) {
            Ok(n) if n < count => n,
            _ => {
                return Err(driver::unavailable(format!(
                    "there is no device {ordinal}: the driver shows {count}, numbered from 0"
                )));
            }
        };
        let mut device: CUdevice = 0;
        // SAFETY: the call writes to a local, and the ordinal was checked.
        check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, ordinal) })?;
        let mut name = [0; 128];
        // SAFETY: the buffer has the given length, and the driver ends the name with a zero byte.
        check("cuDeviceGetName", unsafe {
            sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as c_int, device)
        })?;
        // SAFETY: the call above wrote a name that ends with a zero byte inside the buffer.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy();
        let mut total = 0;
        // SAFETY: the call writes to a local.
        check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&mut total, device) })?;
        let mut handle: CUcontext = std::ptr::null_mut();
        // SAFETY: the call writes to a local. Drop releases the context.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut handle, device) })?;
        Ok(Self {
            ordinal,
            name: format!("cuda:{ordinal} {name}"),
            total: total as u64,
            device,
            handle,
            lost: AtomicBool::new(false),
            process: Process::current(),
        })
    }

    /// Makes this context current on the calling thread until the returned guard is dropped.
    pub(super) fn enter(&self) -> Result<Entered<'_>, DeviceError> {
        self.here()?;
        let mut current: CUcontext = std::ptr::null_mut();
        // SAFETY: the call writes to a local.
        self.check("cuCtxGetCurrent", unsafe { sys::cuCtxGetCurrent(&mut current) })?;
        let pushed = current != self.handle;
        if pushed {
            // SAFETY: the handle is retained as long as self lives.
            self.check("cuCtxPushCurrent", unsafe { sys::cuCtxPushCurrent_v2(self.handle) })?;
        }
        Ok(Entered { context: self, pushed })
    }

    /// Returns an error in the child of a fork.
    pub(super) fn here(&self) -> Result<(), DeviceError> {
        Ok(self.process.check()?)
    }

    /// Returns one of the device's attributes, or 0 for one that the driver does not know.
    pub(super) fn attribute(&self, which: CUdevice_attribute) -> c_int {
        let mut value = 0;
        // SAFETY: the call writes to a local.
        let status = unsafe { sys::cuDeviceGetAttribute(&mut value, which, self.device) };
        check("cuDeviceGetAttribute", status).map_or(0, |()| value)
    }

    /// Returns whether this device and device `other` can access each other's memory.
    pub(super) fn can_access(&self, other: c_int) -> bool {
        let reach = |from, to| {
            let mut can = 0;
            // SAFETY: the call writes to a local. An unknown device is an error status.
            let status = unsafe { sys::cuDeviceCanAccessPeer(&mut can, from, to) };
            check("cuDeviceCanAccessPeer", status).is_ok() && can != 0
        };
        let mut device: CUdevice = 0;
        // SAFETY: the call writes to a local. An unknown ordinal is an error status.
        let status = unsafe { sys::cuDeviceGet(&mut device, other) };
        check("cuDeviceGet", status).is_ok() && reach(self.device, device) && reach(device, self.device)
    }

    /// Returns whether a call has returned that the context is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// As [`check`], and remembers a lost context.
    pub(super) fn check(&self, call: &'static str, status: sys::CUresult) -> Result<(), DeviceError> {
        let result = check(call, status);
        if matches!(result, Err(DeviceError::Lost { .. })) {
            self.lost.store(true, Ordering::Relaxed);
        }
        result
    }

    /// As [`Context::check`], and fills in the figures of a failed request for memory.
    pub(super) fn check_memory(
        &self,
        call: &'static str,
        status: sys::CUresult,
        requested: u64,
    ) -> Result<(), DeviceError> {
        match self.check(call, status) {
            Err(DeviceError::OutOfMemory { .. }) => {
                Err(DeviceError::OutOfMemory { requested, available: self.available() })
            }
            other => other,
        }
    }

    /// Returns the bytes to request so that `size` of them can start at a multiple of `align`.
    pub(super) fn with_slack(&self, size: u64, align: u64) -> Result<u64, DeviceError> {
        let slack = if align > NATURAL_ALIGNMENT { align } else { 0 };
        let bytes = size.checked_add(slack).filter(|bytes| *bytes <= self.total);
        bytes.ok_or(DeviceError::TooLarge { requested: size, largest: self.total })
    }

    /// Returns the bytes that are free on the device now.
    pub(super) fn available(&self) -> Option<u64> {
        let _entered = self.enter().ok()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the call writes to locals, and the context is current.
        let status = unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) };
        self.check("cuMemGetInfo", status).ok()?;
        Some(free as u64)
    }

    /// Returns whether a CUDA graph is being captured on `stream`.
    ///
    /// # Safety
    /// The stream exists.
    pub(super) unsafe fn is_capturing(&self, stream: CUstream) -> Result<bool, DeviceError> {
        self.here()?;
        if stream.is_null() {
            // The legacy default stream cannot be captured.
            return Ok(false);
        }
        let none = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        let mut capture = none;
        // SAFETY: the call writes to a local, and the caller promises that the stream exists.
        self.check("cuStreamIsCapturing", unsafe { sys::cuStreamIsCapturing(stream, &mut capture) })?;
        Ok(capture != none)
    }

    /// Sets `len` bytes at `address` and waits until they are set.
    ///
    /// # Safety
    /// The bytes are memory of this device, and the caller has exclusive access to them.
    pub(super) unsafe fn fill(&self, address: CUdeviceptr, len: u64, byte: u8) -> Result<(), DeviceError> {
        if len == 0 {
            return Ok(());
        }
        let _entered = self.enter()?;
        // SAFETY: the caller owns the range, and it is mapped. A fault is an error status.
        self.check("cuMemsetD8", unsafe { sys::cuMemsetD8_v2(address, byte, len as usize) })?;
        // SAFETY: null is the stream on which the fill ran.
        self.check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(std::ptr::null_mut()) })
    }

    /// Copies within the device. Returns when later reads see the copy.
    ///
    /// # Safety
    /// Both ranges are memory of this device, and the caller has exclusive access to them.
    pub(super) unsafe fn copy(
        &self,
        to: CUdeviceptr,
        from: CUdeviceptr,
        len: u64,
    ) -> Result<(), DeviceError> {
        if len == 0 {
            return Ok(());
        }
        let _entered = self.enter()?;
        // SAFETY: the caller owns both ranges, and they are mapped. A fault is an error status.
        self.check("cuMemcpyDtoD", unsafe { sys::cuMemcpyDtoD_v2(to, from, len as usize) })?;
        // SAFETY: null is the stream on which the copy ran.
        self.check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(std::ptr::null_mut()) })
    }
}

impl Entered<'_> {
    /// Waits until all work of this context is done. Then no kernel uses the memory that goes next.
    pub(super) fn synchronize(&self) -> Result<(), DeviceError> {
        // SAFETY: the call only waits, and the context is current.
        self.context.check("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() })
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if self.pushed {
            let mut popped: CUcontext = std::ptr::null_mut();
            // SAFETY: this undoes the push of `enter` on the same thread, because `Entered` holds a reference
            // and is always a local.
            let _ = unsafe { sys::cuCtxPopCurrent_v2(&mut popped) };
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.here().is_err() {
            return;
        }
        // SAFETY: the context was retained in `open` and is released once. While a process ends, the driver
        // may be gone and return an error, and nothing is left to do.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// Returns the number of devices that the driver shows.
pub(super) fn device_count() -> Result<c_int, DeviceError> {
    driver::load()?;
    let mut count = 0;
    // SAFETY: the call writes to a local.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
    Ok(count)
}

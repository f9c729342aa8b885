//! Reserves, opens, populates and closes pages of this process. All memory system calls of the host device
//! are here.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{self, MapFlags, MprotectFlags, ProtFlags};

use super::available;
use crate::device::DeviceError;
use crate::device::memory::{copy_within, within};

/// Reserved addresses, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    /// The whole mapping. The usable part starts at the first aligned address inside it.
    whole: NonNull<u8>,
    whole_len: usize,
    start: NonNull<u8>,
    size: u64,
}

// SAFETY: a mapping is addresses and lengths. No thread owns the pages behind them.
unsafe impl Send for Mapping {}
// SAFETY: as above. Methods that change pages take ranges that the caller owns.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `size` bytes. Their start is a multiple of `align`, a power of two. No page is usable before
    /// [`Mapping::open`].
    pub(super) fn reserve(size: u64, align: u64) -> Result<Self, DeviceError> {
        let page = rustix::param::page_size() as u64;
        let slack = if align > page { align } else { 0 };
        let len = size.checked_next_multiple_of(page).and_then(|len| len.checked_add(slack));
        let too_large = DeviceError::TooLarge { requested: size, largest: usize::MAX as u64 };
        let len = len.and_then(|len| usize::try_from(len).ok()).ok_or(too_large)?;
        let flags = MapFlags::PRIVATE | no_reserve();
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory in use.
        let mapped = unsafe { mm::mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), flags) };
        let whole = mapped.map_err(|error| failed("mmap", size, error))?.cast::<u8>();
        let skip = (whole as u64).next_multiple_of(align.max(1)) - whole as u64;
        let null = || failed("mmap", size, Errno::NOMEM);
        let whole = NonNull::new(whole).ok_or_else(null)?;
        // SAFETY: if `align` is more than a page, the mapping is longer than `size` by `align`, and `skip` is
        // less than `align`. Otherwise the page's alignment is enough, and `skip` is 0.
        let start = unsafe { whole.add(skip as usize) };
        Ok(Self { whole, whole_len: len, start, size })
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Makes whole pages readable and writable. The system provides each page at its first use.
    pub(super) fn open(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let (at, len) = self.at(&range)?;
        // SAFETY: the range lies in this mapping, and nothing uses pages that are not open.
        let opened = unsafe { mm::mprotect(at, len, MprotectFlags::READ | MprotectFlags::WRITE) };
        opened.map_err(|error| failed("mprotect", len as u64, error))?;
        #[cfg(target_os = "linux")]
        if len >= 2 << 20 {
            // This is advice, so an error loses nothing where huge pages are off.
            // SAFETY: as above.
            let _ = unsafe { mm::madvise(at, len, mm::Advice::LinuxHugepage) };
        }
        Ok(())
    }

    /// Gives a range's pages back and makes it unusable.
    ///
    /// # Safety
    /// Nothing uses the range any more.
    pub(super) unsafe fn close(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let (at, len) = self.at(&range)?;
        // A fresh mapping over the old one drops its pages in one step, on every Unix.
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | no_reserve();
        // SAFETY: the range lies in this mapping, and the caller promises that its holder has given it up.
        let mapped = unsafe { mm::mmap_anonymous(at, len, ProtFlags::empty(), flags) };
        mapped.map(drop).map_err(|error| failed("mmap", len as u64, error))
    }

    /// Populates every page of an open range now.
    ///
    /// # Safety
    /// The range is open, and nothing uses it yet.
    pub(super) unsafe fn populate(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let (at, len) = self.at(&range)?;
        #[cfg(target_os = "linux")]
        {
            // SAFETY: the range lies in this mapping, and populating writes nothing.
            match unsafe { mm::madvise(at, len, mm::Advice::LinuxPopulateWrite) } {
                Ok(()) => return Ok(()),
                // Kernels before 5.14 do not know this advice.
                Err(Errno::INVAL) => {}
                Err(error) => return Err(failed("madvise", len as u64, error)),
            }
        }
        let page = rustix::param::page_size();
        for offset in (0..len).step_by(page) {
            // SAFETY: the caller promises that the page is open and not used yet.
            unsafe { at.cast::<u8>().add(offset).write_volatile(0) };
        }
        Ok(())
    }

    /// Sets every byte of an open range.
    ///
    /// # Safety
    /// The range is open, and nothing else uses it meanwhile.
    pub(super) unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError> {
        let (at, _) = self.at(&range)?;
        // SAFETY: the range lies in this mapping. The caller promises the rest.
        unsafe { ptr::write_bytes(at.cast::<u8>(), byte, (range.end - range.start) as usize) };
        Ok(())
    }

    /// Copies an open range of one mapping to an open range of this one.
    ///
    /// # Safety
    /// Both ranges are open and do not overlap. Nothing writes to the source or uses the target meanwhile.
    pub(super) unsafe fn copy_from(
        &self,
        at: u64,
        from: &Self,
        range: Range<u64>,
    ) -> Result<(), DeviceError> {
        let target = copy_within(at, self.size, &range, from.size)?;
        let ((source, _), (target, _)) = (from.at(&range)?, self.at(&target)?);
        // SAFETY: both ranges lie in their mappings. The caller promises the rest.
        unsafe {
            ptr::copy_nonoverlapping(
                source.cast::<u8>(),
                target.cast::<u8>(),
                (range.end - range.start) as usize,
            );
        }
        Ok(())
    }

    /// Returns a range's address and its length in whole pages, or an error if it is not in this mapping.
    /// Ranges that are opened or closed start on pages. Other ranges only need their bytes.
    fn at(&self, range: &Range<u64>) -> Result<(*mut c_void, usize), DeviceError> {
        let len = within(range, self.size)?;
        // SAFETY: the range lies in this mapping, as `within` has checked.
        let at = unsafe { self.start.add(range.start as usize) };
        let page = rustix::param::page_size() as u64;
        Ok((at.as_ptr().cast(), len.next_multiple_of(page) as usize))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is exactly the mapped range, and its last owner is being dropped.
        let unmapped = unsafe { mm::munmap(self.whole.as_ptr().cast(), self.whole_len) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// Returns the flag that makes addresses cost nothing until they are used.
#[cfg(target_os = "linux")]
fn no_reserve() -> MapFlags {
    MapFlags::NORESERVE
}

#[cfg(not(target_os = "linux"))]
fn no_reserve() -> MapFlags {
    MapFlags::empty()
}

fn failed(call: &'static str, requested: u64, error: Errno) -> DeviceError {
    if error == Errno::NOMEM {
        DeviceError::OutOfMemory { requested, available: available::addresses().or_else(available::pages) }
    } else {
        DeviceError::Failed { call, reason: error.to_string() }
    }
}

//! Memory that a device gave: a whole heap, or one fallback buffer.
//!
//! Owning a [`Memory`] is owning the device's memory: dropping it gives it back. Ranges are byte
//! offsets from the start. Every call checks its range; that nobody else uses it is the caller's
//! promise.
#![allow(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

use super::DeviceError;

/// How a heap holds its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeapKind {
    /// All of it committed from the start: an MTLHeap, a `cudaMalloc` block.
    Fixed,
    /// An address range, empty at first, that [`Memory::commit`] and [`Memory::decommit`] fill and
    /// empty in place. Needs [`Limits::elastic`](super::Limits::elastic).
    Elastic,
}

/// A request for a heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeapRequest {
    /// Bytes: committed for [`HeapKind::Fixed`], reserved addresses for [`HeapKind::Elastic`].
    /// A multiple of [`Limits::alignment`](super::Limits::alignment), and for elastic heaps of
    /// [`Limits::granularity`](super::Limits::granularity).
    pub size: u64,
    /// Fixed or elastic.
    pub kind: HeapKind,
    /// A name for the device's own tools (Metal labels, debuggers).
    pub label: String,
}

/// What became of memory that was volatile; see [`Memory::set_volatile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// As it was.
    Kept,
    /// The system took the pages.
    Lost,
}

/// A region of device memory. Dropping it frees it.
///
/// Implementations are called from any thread. Calls on disjoint ranges may run at the same time.
///
/// The calls that change memory are unsafe, because a reference to a `Memory` does not own its
/// bytes: buffers of other holders lie in the same heap. A range that is not inside the memory is
/// still an error and changes nothing.
///
/// # Safety
/// Pools make pointers of what a `Memory` says, and cannot check it. The implementation promises:
/// - [`Memory::address`], [`Memory::size`] and [`Memory::host`] return the same at every call.
/// - The bytes from [`Memory::address`] to its end belong to this value alone while it lives.
/// - Where [`Memory::host`] is a pointer, it is valid for [`Memory::size`] bytes while the value
///   lives. The CPU may read and write those that are committed.
/// - [`Memory::as_any`] is this value, or one that it owns and that names the same bytes.
pub unsafe trait Memory: fmt::Debug + Send + Sync + Any {
    /// The device's address of the first byte. For devices whose buffers have no address of their
    /// own it is an opaque number, unique among live regions.
    fn address(&self) -> u64;

    /// Bytes from the first address to past the last.
    fn size(&self) -> u64;

    /// The CPU's pointer to the first byte, if the CPU may touch this memory.
    fn host(&self) -> Option<NonNull<u8>> {
        None
    }

    /// Backs `range` (multiples of the device's granularity) with memory. Elastic heaps only.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`], and [`DeviceError::OutOfRange`] for a range that is not inside the
    /// memory or not of whole steps; then no part of the range is committed.
    ///
    /// # Safety
    /// The range is not committed.
    unsafe fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let _ = range;
        Err(DeviceError::Unsupported { what: "committing memory in place" })
    }

    /// Gives the memory behind `range` back; the addresses stay reserved. Elastic heaps only. Work in
    /// flight may still use the range if it was submitted before its buffers were freed: the device
    /// waits for it.
    ///
    /// # Errors
    /// [`DeviceError::Failed`], and [`DeviceError::OutOfRange`] as for [`Memory::commit`]; then the range is
    /// still committed.
    ///
    /// # Safety
    /// The range is committed, and nobody uses it any more.
    unsafe fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let _ = range;
        Err(DeviceError::Unsupported { what: "decommitting memory in place" })
    }

    /// Makes the first use of `range` as cheap as any later use: pages populated, memory resident.
    /// Contents become undefined.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] where the device finds out only now; [`DeviceError::OutOfRange`] if
    /// the range is not inside the memory.
    ///
    /// # Safety
    /// The range is committed, and nobody else uses it meanwhile.
    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError>;

    /// Sets every byte of `range` to `byte` and returns when later reads will see it.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] if the device lost the work; [`DeviceError::OutOfRange`] if the range is
    /// not inside the memory, and then nothing is written.
    ///
    /// # Safety
    /// As for [`Memory::warm`].
    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError>;

    /// Copies `range` of `from`, memory of the same device, to `at` in this memory, and returns when
    /// later reads will see it.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] where the device cannot copy; [`DeviceError::Failed`] if it lost
    /// the work: then `range` is as it was, and the destination's contents are undefined.
    /// [`DeviceError::OutOfRange`] if `range` is not inside `from`, or its copy not inside this memory,
    /// and [`DeviceError::ForeignMemory`] if `from` is another device's; then nothing is written.
    ///
    /// # Safety
    /// Both ranges are committed and do not overlap. Nobody writes to the source or uses the
    /// destination meanwhile.
    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let _ = (at, from, range);
        Err(DeviceError::Unsupported { what: "copies between heaps" })
    }

    /// Lets the system take the pages of this idle memory when it is short (`true`), or claims them
    /// for use again (`false`) and says whether the contents survived.
    ///
    /// While volatile the memory must not be touched, filled or warmed; it costs nothing to claim
    /// it back when the system did not need it. Contents count as uninitialised after `Lost`.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] where the device has no such state: keep or drop the memory.
    ///
    /// # Safety
    /// Nobody uses any of the memory until it is claimed back.
    unsafe fn set_volatile(&self, volatile: bool) -> Result<Contents, DeviceError> {
        let _ = volatile;
        Err(DeviceError::Unsupported { what: "volatile memory" })
    }

    /// The concrete type, for callers who need the device's own objects.
    fn as_any(&self) -> &dyn Any;
}

/// Refuses a range that is not inside memory of `size` bytes; returns its length.
pub(super) fn within(range: &Range<u64>, size: u64) -> Result<u64, DeviceError> {
    let Range { start, end } = *range;
    if start > end || end > size {
        Err(DeviceError::OutOfRange { start, end, size })
    } else {
        Ok(end - start)
    }
}

/// As [`within`], for what changes whole steps of a device alone.
pub(super) fn steps_within(range: &Range<u64>, size: u64, step: u64) -> Result<u64, DeviceError> {
    let Range { start, end } = *range;
    let whole = start < end && start.is_multiple_of(step) && end.is_multiple_of(step);
    if whole { within(range, size) } else { Err(DeviceError::OutOfRange { start, end, size }) }
}

/// Refuses a copy of `range` of memory of `from` bytes to `at` in memory of `to` bytes, unless both are
/// inside; returns the destination.
pub(super) fn copy_within(
    at: u64,
    to: u64,
    range: &Range<u64>,
    from: u64,
) -> Result<Range<u64>, DeviceError> {
    let target = at..at.saturating_add(within(range, from)?);
    within(&target, to).map(|_| target)
}

/// Refuses a request for a buffer that makes no sense on any device.
pub(super) fn sensible(size: u64, align: u64) -> Result<(), DeviceError> {
    if size == 0 || !align.is_power_of_two() { Err(DeviceError::BadRequest { size, align }) } else { Ok(()) }
}

//! The memory that a device gave: a whole heap, or one fallback buffer.
//!
//! Owning a [`Memory`] means owning the device's memory. Dropping it gives the memory back. Ranges are byte
//! offsets from the start. Every call checks that its range is inside. The caller promises that no thread or
//! device uses the range meanwhile.
#![allow(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;

use super::DeviceError;

/// How a heap holds its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeapKind {
    /// All of the memory is committed from the start: an MTLHeap, a `cudaMalloc` block.
    Fixed,
    /// An address range, empty at first. [`Memory::commit`] and [`Memory::decommit`] fill and empty it in
    /// place. It needs [`DeviceLimits::elastic`](super::DeviceLimits::elastic).
    Elastic,
}

/// A request for a heap.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapRequest {
    /// The size in bytes: committed for [`HeapKind::Fixed`], reserved addresses for [`HeapKind::Elastic`]. It
    /// is a multiple of [`DeviceLimits::alignment`](super::DeviceLimits::alignment), and for elastic heaps of
    /// [`DeviceLimits::granularity`](super::DeviceLimits::granularity).
    pub size: u64,
    /// Fixed or elastic.
    pub kind: HeapKind,
    /// A name for the device's own tools (Metal labels, debuggers).
    pub label: String,
}

impl HeapRequest {
    /// A request for a heap of `size` bytes.
    #[must_use]
    pub fn new(size: u64, kind: HeapKind, label: impl Into<String>) -> Self {
        Self { size, kind, label: label.into() }
    }

    /// A request for a heap whose memory is committed from the start.
    #[must_use]
    pub fn fixed(size: u64, label: impl Into<String>) -> Self {
        Self::new(size, HeapKind::Fixed, label)
    }

    /// A request for `size` bytes of addresses, empty at first.
    #[must_use]
    pub fn elastic(size: u64, label: impl Into<String>) -> Self {
        Self::new(size, HeapKind::Elastic, label)
    }
}

/// What happened to memory that was volatile; see [`Memory::set_volatile`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// The contents are as they were.
    Kept,
    /// The system took the pages.
    Lost,
}

/// A region of device memory. Dropping it frees it.
///
/// Any thread may call an implementation. Calls on disjoint ranges may run at the same time.
///
/// The calls that change memory are unsafe, because a reference to a `Memory` does not own its bytes. Other
/// holders' buffers lie in the same heap. A range that is not inside the memory is still an error and changes
/// nothing.
///
/// # Safety
/// Pools make pointers from what a `Memory` returns, and cannot check it. The implementation promises:
/// - [`Memory::device_address`], [`Memory::size`] and [`Memory::host_ptr`] return the same at every call.
/// - While this value lives, the bytes from [`Memory::device_address`] to its end belong to it alone.
/// - If [`Memory::host_ptr`] returns a pointer, it is valid for [`Memory::size`] bytes while the value lives. The
///   CPU may read and write those bytes that are committed.
/// - [`Memory::as_any`] returns this value, or one that it owns and that has the same bytes.
pub unsafe trait Memory: fmt::Debug + Send + Sync + Any {
    /// Returns the device's address of the first byte. If buffers of the device have no address of their own,
    /// this is an opaque number, unique among live regions.
    fn device_address(&self) -> u64;

    /// Returns the size in bytes.
    fn size(&self) -> u64;

    /// Returns the CPU's pointer to the first byte, if the CPU may access this memory.
    fn host_ptr(&self) -> Option<NonNull<u8>> {
        None
    }

    /// Commits memory behind `range`, which consists of multiples of the device's granularity. Only elastic
    /// heaps can.
    ///
    /// # Errors
    /// Returns [`DeviceError::OutOfMemory`], or [`DeviceError::OutOfRange`] for a range that is not inside
    /// the memory or not of whole steps. After an error no part of the range is committed.
    ///
    /// # Safety
    /// The range is not committed.
    unsafe fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let _ = range;
        Err(DeviceError::Unsupported { what: "committing memory in place" })
    }

    /// Gives the memory behind `range` back. The addresses stay reserved. Only elastic heaps can. Work in
    /// flight may still use the range, if it was submitted before the range's buffers were freed. The device
    /// waits for that work.
    ///
    /// # Errors
    /// Returns [`DeviceError::Failed`], or [`DeviceError::OutOfRange`] as for [`Memory::commit`]. After an
    /// error the range is still committed.
    ///
    /// # Safety
    /// The range is committed, and nothing uses it any more but that work.
    unsafe fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let _ = range;
        Err(DeviceError::Unsupported { what: "decommitting memory in place" })
    }

    /// Makes the first use of `range` as cheap as any later use: pages populated, memory resident. The
    /// contents become undefined.
    ///
    /// # Errors
    /// Returns [`DeviceError::OutOfMemory`] if the device finds out only now, and [`DeviceError::OutOfRange`]
    /// if the range is not inside the memory.
    ///
    /// # Safety
    /// The range is committed, and no other thread or device uses it meanwhile.
    unsafe fn warm(&self, range: Range<u64>) -> Result<(), DeviceError>;

    /// Sets every byte of `range` to `byte`. Returns when later reads will see it.
    ///
    /// # Errors
    /// Returns [`DeviceError::Failed`] if the device lost the work. Returns [`DeviceError::OutOfRange`], and
    /// writes nothing, if the range is not inside the memory.
    ///
    /// # Safety
    /// The contract is that of [`Memory::warm`].
    unsafe fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError>;

    /// Copies `range` of `from`, memory of the same device, to `at` in this memory. Returns when later reads
    /// will see it.
    ///
    /// # Errors
    /// Returns [`DeviceError::Unsupported`] if the device cannot copy. Returns [`DeviceError::Failed`] if it
    /// lost the work; then `range` is as it was, and the destination's contents are undefined. Returns
    /// [`DeviceError::OutOfRange`] if `range` is not inside `from` or its copy not inside this memory, and
    /// [`DeviceError::ForeignMemory`] if `from` is another device's. After these two nothing is written.
    ///
    /// # Safety
    /// Both ranges are committed and do not overlap. Nothing writes to the source or uses the destination
    /// meanwhile.
    unsafe fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
        let _ = (at, from, range);
        Err(DeviceError::Unsupported { what: "copies between heaps" })
    }

    /// With `true`, lets the system take the pages of this idle memory when it is short. With `false`, claims
    /// the pages for use again, and returns whether the contents survived.
    ///
    /// While the memory is volatile, nothing may access, fill or warm it. Claiming it back costs nothing if
    /// the system did not need it. Contents count as uninitialised after `Lost`.
    ///
    /// # Errors
    /// Returns [`DeviceError::Unsupported`] if the device has no such state. The caller then keeps or drops
    /// the memory.
    ///
    /// # Safety
    /// Nothing uses any of the memory until it is claimed back.
    unsafe fn set_volatile(&self, volatile: bool) -> Result<Contents, DeviceError> {
        let _ = volatile;
        Err(DeviceError::Unsupported { what: "volatile memory" })
    }

    /// Returns the concrete type, for callers that need the device's own objects.
    fn as_any(&self) -> &dyn Any;
}

/// Returns the length of a range, or an error if it is not inside memory of `size` bytes.
pub(super) fn within(range: &Range<u64>, size: u64) -> Result<u64, DeviceError> {
    let Range { start, end } = *range;
    if start > end || end > size {
        Err(DeviceError::OutOfRange { start, end, size })
    } else {
        Ok(end - start)
    }
}

/// Returns the length as [`within`] does. The range must also consist of whole, and at least one, steps of
/// the device.
pub(super) fn steps_within(range: &Range<u64>, size: u64, step: u64) -> Result<u64, DeviceError> {
    let Range { start, end } = *range;
    let whole = start < end && start.is_multiple_of(step) && end.is_multiple_of(step);
    if whole { within(range, size) } else { Err(DeviceError::OutOfRange { start, end, size }) }
}

/// Returns the destination of a copy of `range` of memory of `from` bytes to `at` in memory of `to` bytes.
/// Returns an error unless both are inside.
pub(super) fn copy_within(
    at: u64,
    to: u64,
    range: &Range<u64>,
    from: u64,
) -> Result<Range<u64>, DeviceError> {
    let target = at..at.saturating_add(within(range, from)?);
    within(&target, to).map(|_| target)
}

/// Returns an error for a buffer that makes no sense on any device.
pub(super) fn sensible(size: u64, align: u64) -> Result<(), DeviceError> {
    if size == 0 || !align.is_power_of_two() { Err(DeviceError::BadRequest { size, align }) } else { Ok(()) }
}

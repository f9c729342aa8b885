//! Memory that a device gave: a whole heap, or one fallback buffer.
//!
//! Owning a [`Memory`] is owning the device's memory: dropping it gives it back. Ranges are byte
//! offsets from the start; the pool has checked them against the size before it calls.

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
pub trait Memory: fmt::Debug + Send + Sync + Any {
    /// The device's address of the first byte. For devices whose buffers have no address of their
    /// own it is an opaque number, unique among live regions.
    fn address(&self) -> u64;

    /// Bytes from the first address to past the last.
    fn size(&self) -> u64;

    /// The CPU's pointer to the first byte, if the CPU may touch this memory.
    fn host(&self) -> Option<NonNull<u8>> {
        None
    }

    /// Backs `range` (multiples of the device's granularity) with memory. Elastic heaps only; the
    /// range was not committed before.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`]; then no part of the range is committed.
    fn commit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let _ = range;
        Err(DeviceError::Unsupported { what: "committing memory in place" })
    }

    /// Gives the memory behind `range` back; the addresses stay reserved. Elastic heaps only; the
    /// range was committed before. Work in flight may still use the range if it was submitted
    /// before its buffers were freed: the device waits for it.
    ///
    /// # Errors
    /// [`DeviceError::Failed`]; then the range is still committed.
    fn decommit(&self, range: Range<u64>) -> Result<(), DeviceError> {
        let _ = range;
        Err(DeviceError::Unsupported { what: "decommitting memory in place" })
    }

    /// Makes the first use of `range` as cheap as any later use: pages populated, memory resident.
    /// Contents become undefined.
    ///
    /// # Errors
    /// [`DeviceError::OutOfMemory`] where the device finds out only now.
    fn warm(&self, range: Range<u64>) -> Result<(), DeviceError>;

    /// Sets every byte of `range` to `byte` and returns when later reads will see it.
    ///
    /// # Errors
    /// [`DeviceError::Failed`] if the device lost the work.
    fn fill(&self, range: Range<u64>, byte: u8) -> Result<(), DeviceError>;

    /// Copies `range` of `from`, memory of the same device, to `at` in this memory, and returns when
    /// later reads will see it. The two ranges do not overlap. Nobody writes to either meanwhile.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] where the device cannot copy; [`DeviceError::Failed`] if it lost
    /// the work: then `range` is as it was, and the destination's contents are undefined.
    fn copy_from(&self, at: u64, from: &dyn Memory, range: Range<u64>) -> Result<(), DeviceError> {
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
    fn set_volatile(&self, volatile: bool) -> Result<Contents, DeviceError> {
        let _ = volatile;
        Err(DeviceError::Unsupported { what: "volatile memory" })
    }

    /// The concrete type, for callers who need the device's own objects.
    fn as_any(&self) -> &dyn Any;
}

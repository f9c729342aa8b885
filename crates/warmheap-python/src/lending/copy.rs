//! Copies between buffers, and between a buffer and other objects' bytes.
//!
//! A copy keeps both ends until it is dropped. Where the CPU reaches both, it moves the bytes. Otherwise the
//! device copies between its own buffers. A simulated device has no memory, so a copy between it and the CPU
//! moves nothing.
#![allow(unsafe_code)]

use std::ptr;

use pyo3::prelude::*;
use warmheap::device::DeviceError;
use warmheap::{Buffer, BufferMemory};

use super::borrowed::Borrowed;
use crate::contents::BufferBase;
use crate::interpreter::arguments;
use crate::interpreter::errors::Class;

/// An argument that a copy reads or writes, and the first byte in it.
pub(crate) struct Part<'py> {
    pub(crate) name: &'static str,
    pub(crate) object: Bound<'py, PyAny>,
    pub(crate) offset: u64,
    /// Whether it must be a `Buffer`. Otherwise any bytes do.
    pub(crate) is_buffer: bool,
}

/// A copy whose ranges are inside both ends.
pub(crate) struct Copy {
    from: End,
    from_offset: u64,
    to: End,
    to_offset: u64,
    size: u64,
}

enum End {
    Bytes(Borrowed),
    Buffer(Lent),
}

/// A buffer's memory, lent to a copy.
struct Lent {
    object: Py<BufferBase>,
    memory: BufferMemory,
    /// The CPU's pointer to the buffer, or null.
    host: *mut u8,
    size: u64,
}

// SAFETY: the pointer is into the memory, which is lent and which any thread may use.
unsafe impl Send for Lent {}

impl Copy {
    /// Takes hold of both ends of a copy of `size` bytes.
    pub(crate) fn new(from: &Part<'_>, to: &Part<'_>, size: u64) -> PyResult<Self> {
        let copy = Self {
            from: End::of(from, false)?,
            from_offset: from.offset,
            to: End::of(to, true)?,
            to_offset: to.offset,
            size,
        };
        copy.check_range(from, &copy.from)?;
        copy.check_range(to, &copy.to)?;
        copy.check_reach()?;
        Ok(copy)
    }

    fn check_range(&self, part: &Part<'_>, end: &End) -> PyResult<()> {
        let (size, name, offset, most) = (self.size, part.name, part.offset, end.size());
        if size > 0 && offset.checked_add(size).is_some_and(|last| last <= most) {
            return Ok(());
        }
        Err(Class::Request.error(format_args!(
            "{size} bytes at {offset} of {name}, which has {most}; a copy must be inside and of 1 byte or more"
        )))
    }

    fn check_reach(&self) -> PyResult<()> {
        if self.is_cpus() {
            return Ok(());
        }
        let (End::Buffer(from), End::Buffer(to)) = (&self.from, &self.to) else {
            let ((End::Buffer(lent), _) | (_, End::Buffer(lent))) = (&self.from, &self.to) else {
                return Ok(());
            };
            let pool = lent.object.get().owner().get();
            if pool.is_simulated() {
                return Ok(());
            }
            let text = format!(
                "the CPU cannot reach the memory of {}; copy between two buffers of that device",
                pool.device_name()
            );
            return Err(Class::Device.error(text));
        };
        let starts = [from.memory.offset() + self.from_offset, to.memory.offset() + self.to_offset];
        if ptr::addr_eq(&raw const *from.memory, &raw const *to.memory)
            && starts[0].abs_diff(starts[1]) < self.size
        {
            return Err(Class::Request.error("the two ends of the copy overlap; a device cannot copy that"));
        }
        Ok(())
    }

    /// Whether the CPU reaches both ends.
    fn is_cpus(&self) -> bool {
        !self.from.host().is_null() && !self.to.host().is_null()
    }

    /// Makes the copy.
    pub(crate) fn run(&self) -> Result<(), DeviceError> {
        let range = self.from_offset..self.from_offset + self.size;
        match (&self.from, &self.to) {
            _ if self.is_cpus() => {
                // SAFETY: both ranges are inside memory that this copy keeps. The program has promised that
                // nothing else writes to them meanwhile, as for every view of a buffer.
                unsafe {
                    let from = self.from.host().add(self.from_offset as usize);
                    ptr::copy(from, self.to.host().add(self.to_offset as usize), self.size as usize);
                }
                Ok(())
            }
            (End::Buffer(from), End::Buffer(to)) => {
                let (start, at) = (from.memory.offset() + range.start, to.memory.offset() + self.to_offset);
                // SAFETY: both ranges are inside buffers, which are committed and which this copy keeps. They do
                // not overlap. The program has promised the rest, as above.
                unsafe { to.memory.copy_from(at, &*from.memory, start..start + self.size) }
            }
            // The memory is simulated.
            _ => Ok(()),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl End {
    fn of(part: &Part<'_>, writable: bool) -> PyResult<Self> {
        let Ok(object) = part.object.cast::<BufferBase>() else {
            if part.is_buffer {
                return Err(arguments::wrong(part.name, &part.object, "a Buffer of a pool"));
            }
            return Borrowed::of(part.name, &part.object, writable).map(Self::Bytes);
        };
        let look = |buffer: &Buffer| Some((buffer.memory()?, buffer.host_ptr(), buffer.size()));
        let lent = object.get().lend(look)?;
        let (memory, host, size) =
            lent.ok_or_else(|| Class::Closed.error("the buffer has no memory here"))?;
        let host = host.map_or(ptr::null_mut(), |pointer| pointer.as_ptr());
        Ok(Self::Buffer(Lent { object: object.clone().unbind(), memory, host, size }))
    }

    fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Buffer(lent) => lent.size,
        }
    }

    /// The CPU's pointer to the first byte, or null.
    fn host(&self) -> *mut u8 {
        match self {
            Self::Bytes(bytes) => bytes.address(),
            Self::Buffer(lent) => lent.host,
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.object.get().take_back();
    }
}

//! What a caller asks for. This module owns requests and tags. It must never look at a pool.
#![forbid(unsafe_code)]

use std::hash::Hash;
use std::time::Duration;

use crate::pool::interface::intern::Interned;

/// A request for memory. A plain number of bytes converts into one.
///
/// ```
/// use warmheap::Request;
/// let request = Request::new(1 << 20).align(4096).zeroed().tag("kv-cache");
/// # let _ = request;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Request {
    pub(crate) size: u64,
    /// The alignment in bytes. 0 means the device's own.
    pub(crate) align: u64,
    pub(crate) tag: Tag,
    /// Milliseconds; [`AS_SET`] means the pool's setting.
    wait: u32,
    pub(crate) zeroed: bool,
    /// The bytes that the buffer may grow to; 0 if the buffer was not announced to grow.
    pub(crate) room: u64,
    /// Whether the request asks for nothing but bytes, so that any span will do as it is.
    pub(crate) plain: bool,
}

const AS_SET: u32 = u32::MAX;

impl Request {
    /// A request for `size` bytes at the device's alignment, uninitialised, untagged.
    #[inline]
    pub const fn new(size: u64) -> Self {
        Self { size, align: 0, tag: Tag::NONE, wait: AS_SET, zeroed: false, room: 0, plain: true }
    }

    /// The bytes in the request.
    #[inline]
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.size
    }

    /// Asks for an address that is a multiple of `align`, a power of two in bytes.
    #[inline]
    pub const fn align(mut self, align: u64) -> Self {
        self.align = align;
        self
    }

    /// Asks for memory that reads as zero.
    #[inline]
    pub const fn zeroed(mut self) -> Self {
        self.zeroed = true;
        self.plain = false;
        self
    }

    /// Asks for room to grow to `most` bytes in place, see [`Buffer::grow`](crate::Buffer::grow). For a
    /// key-value cache, these are the bytes of the longest context.
    ///
    /// Where heaps grow in place the room is addresses, which cost no memory, and the buffer takes whole
    /// pages of the device (2 MiB on most). Elsewhere the buffer gets an eighth more than it asks for, at
    /// most the room, so that it need not move at each step.
    #[inline]
    pub const fn growable(mut self, most: u64) -> Self {
        self.room = most;
        self.plain = !self.zeroed && most == 0;
        self
    }

    /// Lets the request wait up to this long for memory in flight, where the pool cannot serve it otherwise.
    /// Zero refuses to wait. Without this call the pool's `wait_ms` holds. The time counts in milliseconds,
    /// rounded up, at most 49 days.
    #[inline]
    pub const fn wait(mut self, patience: Duration) -> Self {
        let milliseconds = patience.as_nanos().div_ceil(1_000_000);
        self.wait = if milliseconds < AS_SET as u128 { milliseconds as u32 } else { AS_SET - 1 };
        self
    }

    /// How long the request itself says that it waits.
    pub(crate) fn patience(&self) -> Option<Duration> {
        (self.wait != AS_SET).then(|| Duration::from_millis(self.wait.into()))
    }

    /// Names the buffer's purpose, for leak reports and quotas.
    #[inline]
    pub fn tag(mut self, tag: impl Into<Tag>) -> Self {
        self.tag = tag.into();
        self
    }
}

impl From<u64> for Request {
    #[inline]
    fn from(size: u64) -> Self {
        Self::new(size)
    }
}

impl From<usize> for Request {
    #[inline]
    fn from(size: usize) -> Self {
        Self::new(size as u64)
    }
}

/// A name for what buffers are used for: `"weights"`, `"kv-cache"`.
///
/// Making a tag from text looks it up in a table of the process that keeps every name it has seen. Keep the
/// `Tag` where requests are frequent. Meant for tens of names, not millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Tag(u32);

static NAMES: Interned<Box<str>> = Interned::new();

impl Tag {
    /// No tag.
    pub const NONE: Self = Self(0);

    /// The tag named `name`. The empty name gives [`Tag::NONE`].
    #[must_use]
    pub fn new(name: &str) -> Self {
        if name.is_empty() {
            return Self::NONE;
        }
        Self(NAMES.find_or_add(|known| **known == *name, || name.into()).number)
    }

    /// The name; empty for [`Tag::NONE`].
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|known| known.number == self.0).map_or("", |known| &known.value)
    }

    pub(crate) const fn index(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_index(index: u32) -> Self {
        Self(index)
    }
}

impl From<&str> for Tag {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

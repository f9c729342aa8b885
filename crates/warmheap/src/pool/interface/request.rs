//! What a caller asks for. This module owns requests and tags. It must never look at a pool.
#![forbid(unsafe_code)]

use std::hash::Hash;
use std::time::Duration;

use crate::pool::interface::call_site::CallSite;
use crate::pool::interface::intern::Interned;

/// A request for memory. A number of bytes converts into one.
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
    options: u8,
    /// The bytes that the buffer may grow to; 0 if the buffer was not announced to grow.
    pub(crate) room: u64,
    /// The line for leak reports; `None` means the caller's.
    site: Option<CallSite>,
}

/// The options of a request, a bit each.
const ZEROED: u8 = 1;
const GROWABLE: u8 = 2;
const NO_FALLBACK: u8 = 4;
const NON_BLOCKING: u8 = 8;

const AS_SET: u32 = u32::MAX;

impl Request {
    /// A request for `size` bytes at the device's alignment, uninitialised, untagged.
    #[inline]
    pub const fn new(size: u64) -> Self {
        Self { size, align: 0, tag: Tag::NONE, wait: AS_SET, options: 0, room: 0, site: None }
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
        self.options |= ZEROED;
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
        self.options = if most > 0 { self.options | GROWABLE } else { self.options & !GROWABLE };
        self
    }

    /// Rules out memory straight from the device: a request that no heap can serve fails. Heaps may still
    /// grow for it.
    #[inline]
    pub const fn no_fallback(mut self) -> Self {
        self.options |= NO_FALLBACK;
        self
    }

    /// Returns [`AllocError::WouldBlock`](crate::AllocError::WouldBlock) instead of calling the device or
    /// waiting for another thread. The calling thread's cache and the heaps that no other thread is in can
    /// serve such a request, if it asks for nothing but bytes: not for zeroes, for room to grow, or for more
    /// than the device's alignment.
    ///
    /// For callers that hold a lock of their own. They can release it and ask again without this option.
    #[inline]
    pub const fn non_blocking(mut self) -> Self {
        self.options |= NON_BLOCKING;
        self
    }

    /// Names the line that asks, for leak reports. Without this call it is the line of Rust that calls the
    /// pool. For bindings and wrappers, whose callers are elsewhere.
    #[inline]
    pub fn call_site(mut self, site: impl Into<CallSite>) -> Self {
        self.site = Some(site.into());
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

    /// Whether the request asks for nothing but bytes, so that any span will do as it is.
    #[inline(always)]
    pub(crate) const fn is_plain(&self) -> bool {
        self.options & (ZEROED | GROWABLE) == 0
    }

    pub(crate) const fn is_zeroed(&self) -> bool {
        self.options & ZEROED != 0
    }

    pub(crate) const fn may_fall_back(&self) -> bool {
        self.options & NO_FALLBACK == 0
    }

    pub(crate) const fn may_block(&self) -> bool {
        self.options & NON_BLOCKING == 0
    }

    /// The line that asks: the one that the request names, or this function's caller.
    #[track_caller]
    #[inline(always)]
    pub(crate) fn site(&self) -> CallSite {
        match self.site {
            Some(site) => site,
            // A closure would name this file.
            None => CallSite::caller(),
        }
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

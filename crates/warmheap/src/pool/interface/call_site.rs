//! Call sites: the lines that ask for buffers, in Rust or in another language whose bindings call in.
//!
//! A call site is one word, so that passing it along and writing it down costs what a pointer costs. The word
//! leads to data that lives as long as the process. Its lowest bit, which both kinds of data leave free, says
//! which kind. This module must never know of pools.
#![allow(unsafe_code)]

use std::cmp::Ordering;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::Location;
use std::ptr::NonNull;

use crate::pool::interface::intern::Interned;

/// A line of a program's source. Cheap to copy; usable from any thread.
///
/// ```
/// use warmheap::CallSite;
/// let script = CallSite::foreign("train.py", 42);
/// assert_eq!(script.to_string(), "train.py:42");
/// assert_eq!(script, CallSite::foreign("train.py", 42));
/// assert_eq!(CallSite::caller().file(), file!());
/// ```
#[derive(Clone, Copy)]
pub struct CallSite(NonNull<()>);

// SAFETY: the word leads to immutable data that is never freed.
unsafe impl Send for CallSite {}
// SAFETY: as above.
unsafe impl Sync for CallSite {}

/// A call site in a language other than Rust.
#[derive(Debug)]
struct Foreign {
    file: Box<str>,
    line: u32,
}

/// The bit that is set in the word of a [`Foreign`].
const FOREIGN: usize = 1;
const _: () = assert!(align_of::<Location<'_>>() > FOREIGN && align_of::<Foreign>() > FOREIGN);

impl CallSite {
    /// The line of the caller.
    #[track_caller]
    #[inline]
    #[must_use]
    pub fn caller() -> Self {
        Location::caller().into()
    }

    /// A line of another language, counted from 1. Bindings use it for the line that called them.
    ///
    /// Each call looks the line up in a table of the process that keeps every line it has seen. Keep the
    /// `CallSite` where requests are frequent. Meant for lines of source, which are finite.
    #[must_use]
    pub fn foreign(file: &str, line: u32) -> Self {
        const LISTS: usize = 256;
        static KNOWN: [Interned<Foreign>; LISTS] = [const { Interned::new() }; LISTS];
        let mut hasher = DefaultHasher::new();
        (file, line).hash(&mut hasher);
        let list = &KNOWN[hasher.finish() as usize % LISTS];
        let known = |known: &Foreign| known.line == line && *known.file == *file;
        let kept = &list.find_or_add(known, || Foreign { file: file.into(), line }).value;
        Self(NonNull::from(kept).cast().map_addr(|address| address | FOREIGN))
    }

    /// The path of the source, as its compiler or interpreter named it.
    #[must_use]
    pub fn file(self) -> &'static str {
        self.parts().0
    }

    /// The line, counted from 1.
    #[must_use]
    pub fn line(self) -> u32 {
        self.parts().1
    }

    fn parts(self) -> (&'static str, u32, Option<u32>) {
        let address = self.0.as_ptr().map_addr(|address| address & !FOREIGN);
        if address == self.0.as_ptr() {
            // SAFETY: a word without the bit was made from a `&'static Location<'static>`.
            let place: &'static Location<'static> = unsafe { &*address.cast() };
            (place.file(), place.line(), Some(place.column()))
        } else {
            // SAFETY: a word with the bit was made from a `&'static Foreign`.
            let place: &'static Foreign = unsafe { &*address.cast() };
            (&place.file, place.line, None)
        }
    }

    /// The word, for a record that other threads read without a lock.
    #[inline(always)]
    pub(crate) fn into_word(self) -> *mut () {
        self.0.as_ptr()
    }

    /// The call site behind a word. Returns `None` for null.
    ///
    /// # Safety
    /// The word is null or came from [`CallSite::into_word`].
    pub(crate) unsafe fn from_word(word: *mut ()) -> Option<Self> {
        NonNull::new(word).map(Self)
    }
}

impl From<&'static Location<'static>> for CallSite {
    #[inline(always)]
    fn from(place: &'static Location<'static>) -> Self {
        Self(NonNull::from(place).cast())
    }
}

impl PartialEq for CallSite {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for CallSite {}

impl PartialOrd for CallSite {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CallSite {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

/// `src/engine.rs:12:9`, `train.py:42`
impl fmt::Display for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, column) = self.parts();
        write!(f, "{file}:{line}")?;
        column.map_or(Ok(()), |column| write!(f, ":{column}"))
    }
}

impl fmt::Debug for CallSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallSite({self})")
    }
}

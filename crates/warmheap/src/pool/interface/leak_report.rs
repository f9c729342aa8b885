//! The leak report: the buffers that are still alive, and the lines that asked for them. It is a copy; it
//! must never keep a buffer alive.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fmt;

use crate::pool::interface::call_site::CallSite;
use crate::pool::interface::request::Tag;
use crate::stats::SizeHistogram;

/// One buffer that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// The bytes in the request.
    pub size: u64,
    /// The request's tag.
    pub tag: Tag,
    /// The line that asked for it, if it is known.
    pub site: Option<CallSite>,
}

/// The buffers that are alive, and how many were made and freed.
///
/// The `Display` form begins with `Acquired: …, Released: …, Leaked: … buffers`. A line follows for each call
/// site and tag, most bytes first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LeakReport {
    /// The buffers that were alive at the last reset of statistics, and those made since; 0 if statistics are
    /// off.
    pub acquired: u64,
    /// The buffers given back since that reset.
    pub released: u64,
    /// The buffers that are alive.
    pub leaks: Vec<Leak>,
}

impl LeakReport {
    /// Whether nothing is alive.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.leaks.is_empty()
    }

    /// The requested bytes that are alive.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.leaks.iter().map(|leak| leak.size).sum()
    }

    /// The sizes of the buffers that are alive.
    #[must_use]
    pub fn sizes(&self) -> SizeHistogram {
        self.leaks.iter().map(|leak| leak.size).collect()
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acquired, released, leaks } = self;
        write!(f, "Acquired: {acquired}, Released: {released}, Leaked: {} buffers", leaks.len())?;
        let mut sites: BTreeMap<(Option<CallSite>, Tag), (usize, u64)> = BTreeMap::new();
        for leak in leaks {
            let (count, bytes) = sites.entry((leak.site, leak.tag)).or_default();
            *count += 1;
            *bytes += leak.size;
        }
        let mut sites: Vec<_> = sites.into_iter().collect();
        sites.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
        for ((site, tag), (count, bytes)) in sites {
            write!(f, "\n  {count} x, {bytes} bytes")?;
            match site {
                Some(site) => write!(f, ", allocated at {site}")?,
                None => write!(f, ", allocated at an unknown place")?,
            }
            if tag != Tag::NONE {
                write!(f, ", tagged {:?}", tag.name())?;
            }
        }
        Ok(())
    }
}

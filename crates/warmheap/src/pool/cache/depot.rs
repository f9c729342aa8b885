//! The depot: free spans that threads leave for each other.
//!
//! One thread may only free, such as a completion thread, while another only allocates. Spans then travel
//! here in batches, with one short lock for tens of them. The depot is bounded in bytes. Spans that do not
//! fit go back to the heaps, where they can merge with their neighbours. The depot must never lock a heap or
//! call a device.
#![forbid(unsafe_code)]

use crate::pool::cache::size_class::CLASSES;
use crate::pool::heaps::span::Span;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU64, Mutex, lock};

/// See the module's documentation. The depot has cache lines of its own, because threads write to it while
/// they read what lies beside it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Depot {
    /// One bit for each class that may hold spans, so that a miss need not lock to find nothing.
    filled: [AtomicU64; CLASSES.div_ceil(64)],
    stacks: Box<[Mutex<Vec<Span>>]>,
    held: AtomicU64,
    limit: u64,
}

impl Depot {
    /// A depot that holds at most `limit` granules.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            filled: Default::default(),
            stacks: (0..CLASSES).map(|_| Mutex::default()).collect(),
            held: AtomicU64::new(0),
            limit,
        }
    }

    /// The granules held.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Whether `len` more granules may come in.
    pub(crate) fn has_room(&self, len: u64) -> bool {
        self.held() + len <= self.limit
    }

    /// Takes in spans, all of `class`.
    pub(crate) fn put(&self, class: u16, spans: impl Iterator<Item = Span>) {
        let class = usize::from(class);
        let mut stack = lock(&self.stacks[class]);
        let before = stack.len();
        stack.extend(spans);
        self.held.fetch_add(granules(&stack[before..]), Relaxed);
        let bit = 1 << (class % 64);
        // The bit is mostly set already. A plain read then leaves the cache line with the other threads.
        if self.filled[class / 64].load(Relaxed) & bit == 0 {
            self.filled[class / 64].fetch_or(bit, Relaxed);
        }
    }

    /// Moves up to `count` spans of `class` to the end of `to`.
    pub(crate) fn take(&self, class: u32, count: usize, to: &mut Vec<Span>) {
        let class = class as usize;
        let bit = 1 << (class % 64);
        if self.filled[class / 64].load(Relaxed) & bit == 0 {
            return;
        }
        let mut stack = lock(&self.stacks[class]);
        let from = stack.len().saturating_sub(count);
        self.held.fetch_sub(granules(&stack[from..]), Relaxed);
        to.extend(stack.drain(from..));
        if stack.is_empty() {
            self.filled[class / 64].fetch_and(!bit, Relaxed);
        }
    }

    /// Takes everything.
    pub(crate) fn empty(&self) -> Vec<Span> {
        let mut all = Vec::new();
        for class in 0..CLASSES as u32 {
            self.take(class, usize::MAX, &mut all);
        }
        all
    }
}

/// The total length of spans of one class.
fn granules(spans: &[Span]) -> u64 {
    spans.first().map_or(0, |span| u64::from(span.len()) * spans.len() as u64)
}

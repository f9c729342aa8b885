//! What earlier looks at the pool found idle.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Instant;

/// A cache that was the same at so many looks is given up.
pub(crate) const STILL: usize = 3;

/// What was free for so many looks goes back.
pub(crate) const ROW: usize = 8;

/// What is known from earlier looks.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// When the next one is due.
    pub(crate) due: Option<Instant>,
    /// The least free granules of each place for a heap, before each of the last looks.
    pub(crate) heaps: Vec<[u32; ROW]>,
    pub(crate) turn: usize,
    /// What each thread holds back, by the address of its share.
    pub(crate) threads: HashMap<usize, Still>,
    pub(crate) depot: Still,
}

/// A figure that may stay the same for a while.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Still {
    figure: u64,
    looks: usize,
}

impl Still {
    /// Whether the figure was the same, and not 0, at the last few looks.
    pub(crate) fn is_still(&mut self, figure: u64) -> bool {
        self.looks = if self.figure == figure { self.looks + 1 } else { 1 };
        self.figure = figure;
        figure > 0 && self.looks >= STILL
    }
}

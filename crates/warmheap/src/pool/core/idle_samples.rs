//! The samples of decay: what earlier samples of the pool found idle.
//!
//! The module owns those figures. It never decides what is given back.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::time::Instant;

/// A cache that was unchanged for this many samples is given up.
pub(crate) const STILL: usize = 3;

/// Memory that was free for this many samples goes back.
pub(crate) const ROW: usize = 8;

/// What earlier samples found.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    /// When the next sample is due.
    pub(crate) due: Option<Instant>,
    /// The least free granules of each arena, before each of the last samples.
    pub(crate) heaps: Vec<[u32; ROW]>,
    pub(crate) turn: usize,
    /// What each thread caches, by the address of its thread state.
    pub(crate) threads: HashMap<usize, Still>,
    pub(crate) depot: Still,
}

/// A figure that may stay unchanged for a while.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Still {
    figure: u64,
    looks: usize,
}

impl Still {
    /// Whether the figure was unchanged, and not 0, at the last few samples.
    pub(crate) fn is_still(&mut self, figure: u64) -> bool {
        self.looks = if self.figure == figure { self.looks + 1 } else { 1 };
        self.figure = figure;
        figure > 0 && self.looks >= STILL
    }
}

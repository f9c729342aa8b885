//! A limit on how often the log repeats itself: only the first event of a burst is told. This module never
//! writes to the log itself.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use crate::sync::{Mutex, lock};

/// Events closer together than this after the last one told are one burst.
const BURST: Duration = Duration::from_secs(1);

/// Events of which only the first in each second is worth a line in the log.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    told: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// Whether the last burst began less than [`BURST`] ago.
    pub(crate) fn lately(&self) -> bool {
        lock(&self.told).is_some_and(|told| told.elapsed() < BURST)
    }

    /// Notes an event. Returns whether it begins a burst.
    pub(crate) fn begins(&self) -> bool {
        let mut told = lock(&self.told);
        let begins = told.is_none_or(|told| told.elapsed() >= BURST);
        if begins {
            *told = Some(Instant::now());
        }
        begins
    }
}

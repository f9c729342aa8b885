//! The requests that a replay could not serve.

use serde::{Deserialize, Serialize};

use crate::Program;
use warmheap::AllocError;

/// The first request of a replay that the pool could not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FirstFailure {
    /// The round, from 1.
    pub round: u64,
    /// The event of the trace, from 0.
    pub event: u64,
    /// The bytes requested.
    pub size: u64,
    /// What the pool said.
    pub error: String,
}

/// Counts failed requests, and keeps the first.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) count: u64,
    first: Option<(usize, u64, String)>,
}

impl Failures {
    /// Adds the failure of the operation `op` of the program. It is outside the path of success.
    #[cold]
    pub(super) fn add(&mut self, op: usize, size: u64, error: &AllocError) {
        self.count += 1;
        self.first.get_or_insert_with(|| (op, size, error.to_string()));
    }

    /// Joins the counts of one round's threads. The first failure is that of the earliest operation.
    pub(super) fn of<'a>(threads: impl IntoIterator<Item = &'a Self>) -> Self {
        threads.into_iter().fold(Self::default(), |sum, thread| Self {
            count: sum.count + thread.count,
            first: match (sum.first, &thread.first) {
                (Some(first), Some(other)) if other.0 < first.0 => Some(other.clone()),
                (first, other) => first.or_else(|| other.clone()),
            },
        })
    }

    /// Returns the first failure, named by its event.
    pub(super) fn first(self, program: &Program, round: u64) -> Option<FirstFailure> {
        let named = |(op, size, error)| FirstFailure { round, event: program.event_of(op), size, error };
        self.first.map(named)
    }
}

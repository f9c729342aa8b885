//! What the counting and the judging side of the gate agree on.

/// Pairs of an allocation and a free on each path that is counted.
pub const PAIRS: usize = 1024;

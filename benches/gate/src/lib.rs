//! The constant that the two programs of the gate share: one counts instructions, one compares them with
//! the budget.

/// The number of pairs of an allocation and a free that each function runs.
pub const PAIRS: usize = 1024;

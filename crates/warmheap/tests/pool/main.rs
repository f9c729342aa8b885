//! Pools: which requests succeed, which fail, and how pools end.

mod closed;
mod failure_matrix;
mod foreign_acts;
mod foreign_code;
mod limits;
mod oracle;
mod program;
mod quotas;
mod reports;
mod slow_path;
mod start_failures;
#[path = "../support/mod.rs"]
mod support;
mod threads;

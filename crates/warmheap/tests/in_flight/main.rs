//! Memory that queues still use.

mod ends;
mod noted;
mod oracle;
mod retired;
#[path = "../support/mod.rs"]
mod support;

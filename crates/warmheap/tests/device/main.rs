//! Devices and their queues.

mod bounds;
#[path = "../support/mod.rs"]
mod support;
mod worker_queue;

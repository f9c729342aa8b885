//! Any bytes as a program over a pool of any kind, against the oracle of the tests.
#![no_main]

#[allow(dead_code, reason = "the tests make programs from seeds, too")]
#[path = "../../crates/warmheap/tests/program/mod.rs"]
mod program;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| program::run_bytes(bytes));

//! Runs any bytes as a program on a pool of any kind, and compares it with the oracle of the tests.
#![no_main]

#[allow(dead_code, reason = "the tests also make programs from seeds")]
#[path = "../../crates/warmheap/tests/pool/program/mod.rs"]
mod program;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| program::run_bytes(bytes));

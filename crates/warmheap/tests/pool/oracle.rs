//! Random programs on pools of every kind. Buffers do not overlap, alignments hold, contents survive and all
//! bytes come back. After every step every statistic equals an oracle's.
//!
//! Together the tests take a million steps; `WARMHEAP_POOL_OPS` sets another number.

use crate::program::{self, Kind};

/// Each test's share of all steps, in per cent.
fn ops(percent: u64) -> u64 {
    std::env::var("WARMHEAP_POOL_OPS").map_or(1_000_000, |ops| ops.parse::<u64>().unwrap()) / 100 * percent
}

#[test]
fn pools_with_heaps_of_a_fixed_size() {
    program::run(Kind::Fixed, ops(40), 2_000);
}

#[test]
fn pools_whose_heaps_grow_in_place() {
    program::run(Kind::Elastic, ops(30), 2_000);
}

#[test]
fn pools_that_choose_their_heaps() {
    program::run(Kind::Discrete, ops(25), 2_000);
}

#[test]
fn pools_on_host_memory_keep_contents() {
    program::run(Kind::Host, ops(5), 1_000);
}

/// Programs in the fuzzer's form. What the fuzzer finds is added here.
#[test]
fn programs_spelt_in_bytes() {
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..ops(1) / 100 {
        let bytes: Vec<u8> = (0..rng.usize(..400)).map(|_| rng.u8(..)).collect();
        program::run_bytes(&bytes);
    }
}

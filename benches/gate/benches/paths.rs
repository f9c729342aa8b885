//! The paths of the pool, one function for each. callgrind counts their instructions. The set-up of a
//! function does everything that happens only once. `budget.json` has a budget for each function.

use std::hint::black_box;
use std::sync::Arc;

use gate::PAIRS;
use gungraun::prelude::*;
use warmheap::device::sim::SimDevice;
use warmheap::{Buffer, Pool, PoolConfig};

/// A size that a thread cache keeps.
const SMALL: u64 = 64 << 10;
/// A size that goes back to its heap.
const LARGE: u64 = 4 << 20;

fn pool(track_statistics: bool) -> Pool {
    let mut config = PoolConfig::elastic();
    config.track_statistics = track_statistics;
    Pool::new(Arc::new(SimDevice::new()), config).expect("the simulated device has room")
}

/// Returns a pool that has a heap and a cache for this thread, and room for every buffer of the benchmark.
fn warm(track_statistics: bool, size: u64) -> Pool {
    let pool = pool(track_statistics);
    for _ in 0..2 {
        drop(hold(&pool, Vec::with_capacity(PAIRS), size));
    }
    pair(&pool, size);
    pool
}

#[inline(always)]
fn pair(pool: &Pool, size: u64) {
    let buffer = pool.allocate(black_box(size));
    black_box(&buffer);
}

#[inline(always)]
fn hold(pool: &Pool, mut buffers: Vec<Buffer>, size: u64) -> Vec<Buffer> {
    for _ in 0..PAIRS {
        buffers.extend(pool.allocate(black_box(size)));
    }
    buffers
}

// The thread's cache serves each request and takes the span back.
#[library_benchmark]
#[bench::pairs(args = (true, SMALL), setup = warm)]
fn hit(pool: Pool) -> Pool {
    (0..PAIRS).for_each(|_| pair(&pool, SMALL));
    pool
}

// As `hit`, with statistics off.
#[library_benchmark]
#[bench::pairs(args = (false, SMALL), setup = warm)]
fn hit_without_statistics(pool: Pool) -> Pool {
    (0..PAIRS).for_each(|_| pair(&pool, SMALL));
    pool
}

fn warm_with_space() -> (Pool, Vec<Buffer>) {
    (warm(true, SMALL), Vec::with_capacity(PAIRS))
}

// There are more buffers than a thread cache keeps. Spans come from the depot and the heaps in batches, and
// go back the same way.
#[library_benchmark]
#[bench::pairs(setup = warm_with_space)]
fn miss((pool, buffers): (Pool, Vec<Buffer>)) -> Pool {
    drop(hold(&pool, buffers, SMALL));
    pool
}

// The buffer is too large for caches. Its span is cut from a heap, and joined with its neighbours again.
#[library_benchmark]
#[bench::pairs(args = (true, LARGE), setup = warm)]
fn large(pool: Pool) -> Pool {
    (0..PAIRS).for_each(|_| pair(&pool, LARGE));
    pool
}

library_benchmark_group!(name = paths, benchmarks = [hit, hit_without_statistics, miss, large]);
main!(library_benchmark_groups = paths);

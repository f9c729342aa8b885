//! Replays with more threads than processors: verified on every kind of pool, and ended by a panic.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use warmheap::config::MIB;
use warmheap::device::{Device, host::HostDevice, sim::SimDevice};
use warmheap::{Pool, PoolConfig};
use warmheap_trace::Program;
use warmheap_trace::replay::{Replay, ReplayError};

use crate::churn;

/// Far longer than any replay here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Small buffers and large ones, a third of which live long.
fn program(buffers: u64) -> Program {
    churn(buffers, 90, |i| 1 + i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << (10 + i % 13)))
}

/// Replays so many buffers in all, or about as many.
fn verified(device: impl Device + 'static, config: PoolConfig, threads: usize, buffers: u64) {
    let pool = Pool::new(Arc::new(device), config).unwrap();
    let program = program(buffers / threads.max(12) as u64);
    let replay = Replay { threads, rounds: 1, verify: true, remote_free: false };
    let report = replay.run(&program, &pool, || ()).unwrap();
    assert_eq!((report.failed, report.threads), (0, threads as u64));
    assert_eq!(report.events, threads as u64 * program.summary().events);
    let seen = pool.statistics();
    assert_eq!((seen.active_allocations, seen.failed_allocations), (0, 0), "{threads} threads");
    assert_eq!(seen.total_allocations, seen.total_deallocations);
    assert!(report.peak_live_bytes <= report.peak_reserved_bytes, "{report:?}");
}

const THREADS: [usize; 6] = [1, 2, 3, 16, 64, 100];

#[test]
fn any_number_of_threads_replays_on_heaps_that_grow() {
    THREADS
        .into_iter()
        .for_each(|threads| verified(SimDevice::new(), PoolConfig::elastic(), threads, 12_000));
}

#[test]
fn any_number_of_threads_replays_on_heaps_that_come_and_go() {
    let sim = || SimDevice::new().discrete();
    THREADS.into_iter().for_each(|threads| verified(sim(), PoolConfig::elastic(), threads, 12_000));
}

#[test]
fn any_number_of_threads_replays_on_fixed_heaps_and_past_them() {
    let fixed = PoolConfig::default().with_heap_size(32 * MIB).with_num_heaps(2).with_warmup_sizes([]);
    let fixed = fixed.with_log_exhaustion(false);
    THREADS.into_iter().for_each(|threads| verified(SimDevice::new(), fixed.clone(), threads, 12_000));
}

#[test]
fn contents_survive_dozens_of_threads_on_host_memory() {
    [3, 64].into_iter().for_each(|threads| verified(HostDevice::new(), PoolConfig::elastic(), threads, 3000));
}

/// Returns the end of a replay on a pool that runs out of memory and has a callback that then panics.
fn ends_with(threads: usize, remote_free: bool) -> ReplayError {
    let (tell, hear) = mpsc::channel();
    thread::spawn(move || {
        let device = SimDevice::new().budget(4 * MIB);
        let pool = Pool::new(Arc::new(device), PoolConfig::elastic()).unwrap();
        pool.on_pressure(|_, _| panic!("memory is short"));
        let replay = Replay { threads, rounds: 1, verify: true, remote_free };
        tell.send(replay.run(&program(300), &pool, || ()).unwrap_err())
    });
    hear.recv_timeout(PATIENCE).expect("the other threads do not wait for ever")
}

#[test]
fn a_panic_in_one_thread_ends_the_replay_with_an_error() {
    for (threads, remote_free) in [(1, false), (2, false), (16, false), (2, true)] {
        let error = ends_with(threads, remote_free);
        assert!(matches!(error, ReplayError::Panicked { thread, .. } if thread <= threads), "{error}");
        assert!(error.to_string().contains("panicked: memory is short"), "{error}");
    }
}

//! Replays measure what is true of a pool, and a recorded run replays.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use warmheap::config::{MIB, Strategy};
use warmheap::device::sim::{Call, SimDevice, SimQueue};
use warmheap::device::{Device, host::HostDevice};
use warmheap::{Pool, PoolConfig};
use warmheap_trace::replay::{Replay, Report, play_phases};
use warmheap_trace::{Compile, Program, Recorder, TraceReader, TraceWriter};

fn bundled() -> Program {
    Program::compile(TraceReader::open(crate::bundled()).unwrap(), Compile::default()).unwrap()
}

/// Buffers of many sizes, a third of which live long, at few addresses.
fn churn(buffers: u64) -> Program {
    let mut text = String::from("Thread,Time,Action,Pointer,Size,Stream\n");
    let size = |i: u64| 1 + i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (200 << 10);
    for i in 0..buffers {
        text += &format!("0,{i},allocate,{i:#x},{},0\n", size(i));
        if i % 3 != 0 {
            text += &format!("0,{i},free,{i:#x},{},0\n", size(i));
        } else if i >= 300 {
            let old = i - 300;
            text += &format!("0,{i},free,{old:#x},{},0\n", size(old));
        }
    }
    let reader = TraceReader::new("churn", Cursor::new(text.into_bytes())).unwrap();
    Program::compile(reader, Compile::default()).unwrap()
}

fn pool(device: impl Device + 'static, config: PoolConfig) -> Pool {
    Pool::new(Arc::new(device), config).unwrap()
}

fn verify(program: &Program, pool: &Pool, threads: usize, remote_free: bool) -> Report {
    let replay = Replay { threads, rounds: 1, verify: true, remote_free };
    let mut rounds = 0;
    let report = replay.run(program, pool, || rounds += 1).unwrap();
    assert_eq!(rounds, replay.total_rounds());
    assert_eq!(pool.statistics().active_allocations, 0, "every buffer is back");
    report
}

#[test]
fn the_bundled_trace_is_served_without_overlap() {
    let program = bundled();
    for strategy in [Strategy::RoundRobin, Strategy::BestFit, Strategy::LeastUsed] {
        let config = PoolConfig::default().with_strategy(strategy).with_dynamic_growth(true);
        let pool = pool(SimDevice::new(), config);
        let report = verify(&program, &pool, 1, false);
        assert_eq!((report.events, report.failed), (136_062, 0));
        assert_eq!(report.peak_live_bytes, 1_426_977_352);
        assert_eq!(report.end_live_bytes, 1_374_714_608);
        assert!(report.peak_reserved_bytes >= report.peak_live_bytes);
    }
}

#[test]
fn contents_survive_on_host_memory_whichever_thread_frees() {
    let program = churn(4000);
    for (threads, remote_free) in [(1, false), (2, false), (1, true), (3, true)] {
        let pool = pool(HostDevice::new(), PoolConfig::elastic());
        let report = verify(&program, &pool, threads, remote_free);
        assert_eq!(report.threads, threads as u64);
        assert_eq!(report.events, threads as u64 * program.summary().events);
        assert_eq!(report.failed, 0);
        assert!(report.peak_live_bytes >= program.summary().peak_live_bytes);
    }
}

#[test]
fn heaps_too_small_fall_back_and_a_budget_too_small_fails_and_both_are_counted() {
    let program = churn(2000);
    let small = PoolConfig::default().with_heap_size(MIB).with_num_heaps(1).with_log_exhaustion(false);
    let report = verify(&program, &pool(SimDevice::new(), small.clone()), 1, false);
    assert!(report.fallback_allocations > 0 && report.hit_rate < 1.0);
    assert_eq!(report.failed, 0);

    let report = verify(&program, &pool(SimDevice::new().budget(4 * MIB), small), 1, false);
    assert!(report.failed > 0);
    assert!(report.peak_reserved_bytes <= 4 * MIB);
}

#[test]
fn device_calls_are_counted_where_they_happen() {
    let sim = SimDevice::new();
    let off = PoolConfig::default().with_enabled(false);
    let pool = pool(sim.clone(), off);
    let program = churn(100);
    let report = verify(&program, &pool, 1, false);
    let calls = report.device_calls;
    assert_eq!(calls.setup, 0);
    assert!(calls.first_half > 0 && calls.second_half > 0);
    assert!(report.ns_per_op > 0.0 && report.alloc_ns.p50 <= report.alloc_ns.p999);
    // The counts are those of the first round. The other rounds played as much.
    let rounds = 6;
    assert_eq!(sim.calls(Call::Allocate), rounds * report.allocations);
}

#[test]
fn phases_part_where_serving_begins() {
    let lines = "0,0,allocate,0x1,64,0\n0,1,allocate,0x2,64,0\n0,3,free,0x2,64,0\n";
    let text = format!("Thread,Time,Action,Pointer,Size,Stream\n{lines}");
    let reader = TraceReader::new("t", Cursor::new(text.into_bytes())).unwrap();
    let program = Program::compile(reader, Compile { serving_from: 1, ..Compile::default() }).unwrap();
    assert_eq!((program.summary().serving_from, program.summary().serving.as_secs()), (1, 2));
    let pool = pool(SimDevice::new(), PoolConfig::elastic());
    let mut alive = 0;
    let phases = play_phases(&program, &pool, || alive = pool.statistics().active_allocations);
    assert_eq!((alive, phases.failed), (1, 0));
}

#[test]
fn a_recorded_run_replays() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["run.csv", "run.csv.gz", "run.csv.zst"] {
        let path: PathBuf = folder.path().join(name);
        let pool = pool(SimDevice::new().budget(64 * MIB), PoolConfig::elastic());
        let sim = Arc::new(SimQueue::new());
        let queue = pool.queue(sim.clone());
        let recorder = Recorder::new(pool, TraceWriter::create(&path).unwrap());
        let kept = recorder.allocate(3 * MIB).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for i in 1..500_u64 {
                        let _buffer = recorder.allocate(i * 100).unwrap();
                    }
                });
            }
        });
        assert!(recorder.allocate(1 << 30).is_err());
        assert_eq!(kept.size(), 3 * MIB);
        // A retired buffer is free from then on, as far as the recorded program goes.
        recorder.allocate(MIB).unwrap().retire(&queue.ticket(sim.submit()));
        let late = recorder.clone();
        assert_eq!(recorder.finish().unwrap(), 4 + 4 * 499);
        // The pool serves what comes after the end, and the recorder does not write it.
        drop(late.allocate(64).unwrap());
        drop(kept);
        sim.complete_all();

        let program = Program::compile(TraceReader::open(&path).unwrap(), Compile::default()).unwrap();
        let summary = program.summary();
        assert_eq!((summary.allocations, summary.recorded_failures), (2 + 2 * 499, 1));
        assert_eq!(summary.end_live_bytes, 3 * MIB);
        let threads: std::collections::HashSet<_> =
            TraceReader::open(&path).unwrap().map(|event| event.unwrap().thread).collect();
        assert_eq!(threads.len(), 3);
        let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic()).unwrap();
        verify(&program, &pool, 1, false);
    }
}

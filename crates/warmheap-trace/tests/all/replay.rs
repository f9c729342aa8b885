//! Replays measure what is true of a pool, and a recorded run replays.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use warmheap::config::{MIB, Strategy};
use warmheap::device::sim::{Call, SimDevice, SimQueue};
use warmheap::device::{Device, host::HostDevice};
use warmheap::{CompactionBudget, Pool, PoolConfig, Request};
use warmheap_trace::replay::{Replay, ReplayError, Report, play_phases};
use warmheap_trace::{Compile, Event, Program, Recorder, TraceReader, TraceWriter};

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
        // A retired buffer is alive until its work is done, which nothing here says before the end.
        recorder.allocate(MIB).unwrap().retire(&queue.ticket(sim.submit()));
        let late = recorder.clone();
        assert_eq!(recorder.finish().unwrap(), 3 + 2 * 2 * 499);
        // The pool serves what comes after the end, and the recorder does not write it.
        drop(late.allocate(64).unwrap());
        drop(kept);
        sim.complete_all();

        let program = Program::compile(TraceReader::open(&path).unwrap(), Compile::default()).unwrap();
        let summary = program.summary();
        assert_eq!((summary.allocations, summary.recorded_failures), (2 + 2 * 499, 1));
        assert_eq!(summary.end_live_bytes, 4 * MIB);
        let threads: std::collections::HashSet<_> =
            TraceReader::open(&path).unwrap().map(|event| event.unwrap().thread).collect();
        assert_eq!(threads.len(), 3);
        let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic()).unwrap();
        verify(&program, &pool, 1, false);
    }
}

/// Each event as `action pointer size stream`, with pointers numbered as they appear.
fn lines(path: &Path) -> Vec<String> {
    let mut pointers = Vec::new();
    let line = |event: Event| {
        let known = pointers.iter().position(|pointer| *pointer == event.pointer);
        let number = known.unwrap_or_else(|| {
            pointers.push(event.pointer);
            pointers.len() - 1
        });
        format!("{} p{number} {} {}", event.action.as_str(), event.size, event.stream)
    };
    TraceReader::open(path).unwrap().map(|event| event.unwrap()).map(line).collect()
}

#[test]
fn a_recording_sees_queues_and_when_retired_memory_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.csv");
    let pool = pool(SimDevice::new(), PoolConfig::elastic());
    let sim = Arc::new(SimQueue::new());
    let queue = pool.queue(sim.clone());
    let number = queue.number();
    let recorder = Recorder::new(pool, TraceWriter::create(&path).unwrap());
    let (first, second) = (sim.submit(), sim.submit());
    recorder.allocate_on(&queue, 4096).unwrap().retire(&queue.ticket(first));
    // The queue gets the memory again before the work is done, as the order of its work allows.
    let again = recorder.allocate_on(&queue, 4096).unwrap();
    recorder.allocate(64).unwrap().retire(&queue.ticket(first));
    again.retire(&queue.ticket(second));
    sim.complete(first);
    drop(recorder.allocate(8192).unwrap());
    assert_eq!(recorder.finish().unwrap(), 7);
    assert_eq!(
        lines(&path),
        [
            format!("allocate p0 4096 {number}"),
            format!("free p0 4096 {number}"),
            format!("allocate p0 4096 {number}"),
            "allocate p1 64 0".into(),
            format!("free p1 64 {number}"),
            "allocate p2 8192 0".into(),
            "free p2 8192 0".into(),
        ]
    );
    let program = Program::compile(TraceReader::open(&path).unwrap(), Compile::default()).unwrap();
    assert_eq!(program.summary().end_live_bytes, 4096);
}

#[test]
fn a_recorded_buffer_grows_moves_and_retires_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.csv");
    let pool = pool(HostDevice::new(), PoolConfig::elastic());
    let recorder = Recorder::new(pool.clone(), TraceWriter::create(&path).unwrap());
    let mut cache = recorder.allocate(Request::new(4096).growable(MIB)).unwrap();
    let address = cache.device_address();
    cache.grow(1024).unwrap();
    cache.grow(MIB).unwrap();
    assert_eq!((cache.size(), cache.device_address()), (MIB, address));
    let behind = cache.grow_or_move(Request::new(8 << 30).growable(0)).unwrap();
    assert_eq!(behind.is_some(), cache.device_address() != address);
    drop(behind);

    let mut before = vec![recorder.allocate_movable(5000).unwrap()];
    before.extend((0..64).map(|_| recorder.allocate_movable(5000).unwrap()));
    let kept = before.split_off(60);
    drop(before);
    pool.compact(CompactionBudget::unlimited()).unwrap();
    let fixed = recorder.allocate(5000).unwrap();
    drop((kept, fixed, cache));
    assert!(recorder.finish().unwrap() > 2 * 65);
    let program = Program::compile(TraceReader::open(&path).unwrap(), Compile::default()).unwrap();
    assert_eq!((program.summary().end_live_bytes, program.summary().largest_bytes), (0, 8 << 30));
    let growth = lines(&path);
    assert_eq!(growth[..3], ["allocate p0 4096 0", "free p0 4096 0", "allocate p0 1048576 0"]);
}

#[test]
fn a_replay_that_is_stopped_ends_at_once_and_frees_its_buffers() {
    for (threads, remote_free) in [(1, false), (3, true), (16, false)] {
        let pool = pool(SimDevice::new(), PoolConfig::elastic());
        let program = bundled();
        let stopped = AtomicBool::new(false);
        let replay = Replay { threads, rounds: 1_000_000, remote_free, ..Replay::default() };
        let ended = std::thread::scope(|scope| {
            let running = scope.spawn(|| replay.run_until(&stopped, &program, &pool, || {}));
            std::thread::sleep(Duration::from_millis(100));
            stopped.store(true, Relaxed);
            let asked = Instant::now();
            (running.join().unwrap(), asked.elapsed())
        });
        assert_eq!(ended.0, Err(ReplayError::Stopped));
        assert!(ended.1 < Duration::from_secs(2), "{:?}", ended.1);
        assert_eq!(pool.statistics().active_allocations, 0);
    }
}

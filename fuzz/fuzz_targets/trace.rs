//! Reads any bytes as a trace, plain or compressed, strictly and leniently. Compares an accepted trace with
//! figures that are computed here, and plays it on a small device.
#![no_main]

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use warmheap::device::sim::SimDevice;
use warmheap_trace::replay::play_phases;
use warmheap_trace::{Action, Compile, Event, Program, TraceError, TraceErrorKind, TraceReader};
use warmheap::{Pool, PoolConfig};

fuzz_target!(|bytes: &[u8]| {
    let lenient = compile(bytes, true);
    let strict = compile(bytes, false);
    for error in [&lenient, &strict].into_iter().filter_map(|read| read.as_ref().err()) {
        let message = error.to_string();
        assert!(message.lines().count() == 1 && message.len() < 1000, "{message}");
    }
    match (&strict, &lenient) {
        (Ok(strict), Ok(lenient)) => assert_eq!(strict.summary(), lenient.summary()),
        (Ok(_), Err(error)) => panic!("read strictly, refused leniently: {error}"),
        // Lenient reading accepts contradictions, and nothing else that strict reading refuses.
        (Err(error), Ok(_)) => assert!(matches!(error.kind(), TraceErrorKind::Fault(_)), "{error}"),
        (Err(_), Err(error)) => assert!(!matches!(error.kind(), TraceErrorKind::Fault(_)), "{error}"),
    }
    if let Ok(program) = lenient {
        compare(&program, bytes);
        play(&program);
    }
});

fn reader(bytes: &[u8]) -> Result<TraceReader, TraceError> {
    TraceReader::new("fuzz", Cursor::new(bytes.to_vec()))
}

fn compile(bytes: &[u8], lenient: bool) -> Result<Program, TraceError> {
    Program::compile(reader(bytes)?, Compile { lenient, ..Compile::default() })
}

/// Checks that the summary of the program is what its events add up to.
fn compare(program: &Program, bytes: &[u8]) {
    let events = reader(bytes).expect("it was read before");
    let mut live: HashMap<u64, u64> = HashMap::new();
    let (mut bytes, mut peak, mut buffers, mut operations, mut skipped) = (0_u128, 0, 0, 0, 0);
    for event in events {
        let Event { action, pointer, size, .. } = event.expect("it was read before");
        match action {
            Action::AllocateFailure => continue,
            Action::Allocate if (1..1 << 63).contains(&size) && !live.contains_key(&pointer) => {
                live.insert(pointer, size);
                bytes += u128::from(size);
            }
            Action::Free if live.contains_key(&pointer) => {
                bytes -= u128::from(live.remove(&pointer).unwrap_or_default());
            }
            _ => {
                skipped += 1;
                continue;
            }
        }
        operations += 1;
        peak = peak.max(bytes);
        buffers = buffers.max(live.len() as u64);
    }
    let summary = program.summary();
    let whole = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
    assert_eq!((summary.events, summary.skipped), (operations, skipped));
    assert_eq!((summary.peak_live_bytes, summary.end_live_bytes), (whole(peak), whole(bytes)));
    assert_eq!(summary.peak_live_buffers, buffers);
}

/// Checks that a compiled program can be played, whatever it requests.
fn play(program: &Program) {
    let sim = SimDevice::new().budget(1 << 30);
    let pool = Pool::new(Arc::new(sim.clone()), PoolConfig::elastic()).expect("an elastic pool starts empty");
    let phases = play_phases(program, &pool, || ());
    assert!(phases.failed <= program.summary().allocations);
    drop(pool);
    assert_eq!(sim.live_bytes(), 0);
}

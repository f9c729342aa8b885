//! Trace files read back as written, and damage is reported with its line.

use std::fs;
use std::io::Write;
use std::thread;
use std::time::Duration;

use flate2::write::GzEncoder;
use proptest::collection::vec;
use proptest::prelude::*;
use warmheap_trace::{
    Action, Compile, Event, Fault, Program, TraceError, TraceErrorKind, TraceReader, TraceWriter,
};

use crate::bundled;

const HEADER: &str = "Thread,Time,Action,Pointer,Size,Stream\n";

fn read(text: &str) -> Result<Vec<Event>, TraceError> {
    let bytes = text.as_bytes().to_vec();
    TraceReader::new("t.csv", std::io::Cursor::new(bytes))?.collect()
}

fn compile(lines: &str, how: Compile) -> Result<Program, TraceError> {
    let text = format!("{HEADER}{lines}");
    let reader = TraceReader::new("t.csv", std::io::Cursor::new(text.into_bytes()))?;
    Program::compile(reader, how)
}

#[test]
fn every_compression_reads_back_as_written() {
    let folder = tempfile::tempdir().unwrap();
    // This is enough for several zstd frames.
    let events: Vec<Event> = (0..60_000)
        .map(|i| Event {
            thread: i % 3,
            time: Duration::from_micros(7 * i),
            action: if i % 2 == 0 { Action::Allocate } else { Action::Free },
            pointer: 0x7f00_0000_0000 + i / 2,
            size: 1 + i * 31,
            stream: i % 5,
        })
        .collect();
    for name in ["t.csv", "t.csv.gz", "t.csv.zst"] {
        let path = folder.path().join(name);
        let mut writer = TraceWriter::create(&path).unwrap();
        for event in &events {
            writer.write(event).unwrap();
        }
        writer.finish().unwrap();
        // The content decides, not the name.
        let renamed = folder.path().join("renamed.csv");
        fs::rename(&path, &renamed).unwrap();
        let found: Vec<Event> = TraceReader::open(&renamed).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(found, events, "{name}");
    }
}

#[test]
fn a_file_has_one_writer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let event = |size| Event {
        thread: 0,
        time: Duration::ZERO,
        action: Action::Allocate,
        pointer: size,
        size,
        stream: 0,
    };
    for name in ["t.csv", "t.csv.gz", "t.csv.zst"] {
        let path = folder.path().join(name);
        for threads in [1, 2, 3, 16, 64] {
            let mut writer = TraceWriter::create(&path).unwrap();
            writer.write(&event(1)).unwrap();
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        let refused = TraceWriter::create(&path).unwrap_err();
                        assert!(matches!(refused.kind(), TraceErrorKind::InUse), "{refused}");
                        assert!(refused.to_string().contains(name), "{refused}");
                    });
                }
            });
            writer.write(&event(2)).unwrap();
            writer.finish().unwrap();
            let found: Vec<Event> = TraceReader::open(&path).unwrap().collect::<Result<_, _>>().unwrap();
            assert_eq!(found, [event(1), event(2)], "{name}");
        }
        // One that is given up leaves the file to the next.
        drop(TraceWriter::create(&path).unwrap());
        TraceWriter::create(&path).unwrap().finish().unwrap();
    }
}

#[cfg(unix)]
#[test]
fn a_device_may_have_several_writers() {
    let writers: Vec<_> = (0..3).map(|_| TraceWriter::create("/dev/null").unwrap()).collect();
    writers.into_iter().for_each(|writer| writer.finish().unwrap());
}

#[test]
fn the_bundled_trace_is_what_its_sidecar_says() {
    let program = Program::compile(
        TraceReader::open(bundled()).unwrap(),
        Compile { serving_from: 315, ..Compile::default() },
    )
    .unwrap();
    let summary = program.summary();
    assert_eq!((summary.events, summary.allocations), (136_062, 68_302));
    assert_eq!(summary.peak_live_bytes, 1_426_977_352);
    assert_eq!(summary.end_live_bytes, 1_374_714_608);
    assert_eq!(summary.duration - summary.serving, Duration::from_micros(96_965));
}

#[test]
fn a_truncated_or_damaged_file_is_an_error_with_its_line() {
    let whole = fs::read(bundled()).unwrap();
    let plain: Vec<u8> = {
        let mut text = HEADER.to_owned().into_bytes();
        for i in 0..5000 {
            writeln!(text, "0,{i}.5,allocate,{i:#x},{},0", i * 7919 + 1).unwrap();
        }
        text
    };
    let mut gzip = GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut flipped = gzip.clone();
    flipped[gzip.len() / 2] ^= 0x55;
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    for damaged in [half(&whole), half(&gzip), flipped, whole[..3].to_vec(), vec![]] {
        let reader = TraceReader::new("t", std::io::Cursor::new(damaged));
        let error = match reader {
            Err(error) => error,
            Ok(reader) => reader.collect::<Result<Vec<_>, _>>().unwrap_err(),
        };
        let message = error.to_string();
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains("; "), "no remedy: {message}");
    }
}

#[test]
fn errors_name_the_line() {
    let good = "0,0.1,allocate,0x1,8,0\n";
    for (lines, line) in [
        (format!("{good}0,0,free,0x1\n"), 3),
        (format!("{good}\n\r\n0,x,free,0x1,8,0\n"), 5),
        (format!("{good}0,0.2,free,0x2,8,0"), 3),
        (format!("{good}{good}"), 3),
        (format!("{good}{}\n", "9".repeat(100_000)), 3),
    ] {
        let error = compile(&lines, Compile::default()).unwrap_err();
        assert_eq!(error.line(), line, "{error}");
        assert!(error.to_string().starts_with(&format!("t.csv:{line}: ")));
    }
}

#[test]
fn a_wrong_header_says_what_a_header_is() {
    for text in ["", "\n", "Thread,Time\n0,0\n", "0,0,allocate,0x0,1,0\n", "\u{0}\u{1}"] {
        let error = read(text).unwrap_err();
        assert!(matches!(error.kind(), TraceErrorKind::Header { .. }), "{error}");
    }
}

#[test]
fn clock_times_run_on_past_midnight() {
    let text = format!("{HEADER}1,23:59:59.500000,allocate,0x1,8,0\r\n1,00:00:00.250000,free,0x1,8,0\r\n");
    let events = read(&text).unwrap();
    assert_eq!(events[1].time - events[0].time, Duration::from_millis(750));
}

#[test]
fn impossible_events_are_refused_or_skipped_and_counted() {
    let lines = "0,0,allocate,0x1,8,0\n0,0,allocate,0x1,9,0\n0,0,free,0x2,9,0\n\
        0,0,allocate,0x3,0,0\n0,0,allocate,0x3,9223372036854775808,0\n0,0,free,0x1,8,0\n\
        0,0,allocate failure,(nil),5,0\n";
    let error = compile(lines, Compile::default()).unwrap_err();
    let TraceErrorKind::Fault(fault) = error.kind() else {
        panic!("{error}");
    };
    assert_eq!(*fault, Fault::LiveAllocation { pointer: 1 });
    let lenient = Compile { lenient: true, ..Compile::default() };
    let program = compile(lines, lenient).unwrap();
    let summary = program.summary();
    assert_eq!((summary.events, summary.skipped), (2, 4));
    assert_eq!(summary.recorded_failures, 1);
    assert_eq!((summary.peak_live_bytes, summary.end_live_bytes), (8, 0));
}

/// Returns a small trace as this library compresses it.
fn compressed(ending: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("t.csv.{ending}"));
    let mut writer = TraceWriter::create(&path).unwrap();
    for i in 0..200 {
        writer
            .write(&Event {
                thread: 0,
                time: Duration::from_micros(i),
                action: Action::Allocate,
                pointer: i * 512,
                size: 1 + i * i,
                stream: 0,
            })
            .unwrap();
    }
    writer.finish().unwrap();
    fs::read(path).unwrap()
}

/// Reads a file of any content to its end. An error has one line.
fn survives(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let read = TraceReader::new("t", std::io::Cursor::new(bytes));
    let compiled = read.and_then(|reader| Program::compile(reader, Compile::default()));
    if let Err(error) = compiled {
        prop_assert_eq!(error.to_string().lines().count(), 1);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_text_makes_the_reader_panic(lines in vec("[0-9,.:xa-f()naloctreu -]{0,40}", 0..5)) {
        survives(format!("{HEADER}{}", lines.join("\n")).into_bytes())?;
    }

    #[test]
    fn no_damage_makes_the_reader_panic(
        zstd in any::<bool>(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = compressed(if zstd { "zst" } else { "gz" });
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(bytes.len() - cut.index(bytes.len()) / 4);
        survives(bytes)?;
    }
}

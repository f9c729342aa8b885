//! Measuring as a gate: results that can be trusted, compared and written, and failures that end the command
//! with 1.

use crate::run::{Folder, small_trace, warmheap};
use serde_json::{Value, json};

/// Three buffers of 50 MiB. On a device of 120 MiB the third, event 3, cannot be served.
const TIGHT: &str = "Thread,Time,Action,Pointer,Size,Stream\n\
    0,0.0,allocate,0x1,52428800,0\n0,0.1,allocate failure,(nil),77,0\n0,0.2,allocate,0x2,52428800,0\n\
    0,0.3,allocate,0x3,52428800,0\n0,0.4,free,0x1,52428800,0\n0,0.5,free,0x2,52428800,0\n\
    0,0.6,free,0x3,52428800,0\n";

fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_replay_that_fails_in_any_round_names_the_event_and_exits_1() {
    let folder = Folder::new();
    let trace = folder.file("tight.csv", TIGHT);
    let args = ["replay", &trace, "--device", "sim:budget=120", "--rounds", "5"];
    for more in [&[][..], &["--threads", "2"], &["--remote-free"], &["--verify"]] {
        let run = warmheap(&[&args[..], more].concat());
        assert_eq!(run.code, 1, "{more:?}: {run:?}");
        assert!(run.stderr.contains("the pool could not serve "), "{run:?}");
        assert!(run.stderr.contains("in round 1: 52428800 bytes: out of memory"), "{run:?}");
        if more.is_empty() || more == ["--verify"] {
            assert!(run.stderr.contains("the first is event 3, from 0"), "{run:?}");
        }
    }
    let run = warmheap(&[&args[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    // Five timed rounds, three that time single operations, and the settled one.
    assert_eq!((&report["failed"], &report["failed_later"]), (&json!(1), &json!(9)));
    assert_eq!(report["first_failure"]["event"], json!(3));
    assert_eq!((run.code, report["rounds"]["ns_per_op"].as_array().unwrap().len()), (1, 5));
}

#[test]
fn a_bench_that_fails_names_the_event_and_prints_its_figures() {
    let folder = Folder::new();
    let trace = folder.file("tight.csv", TIGHT);
    let tight = folder
        .file("tight.yaml", "heap_size_mb: 64\nnum_heaps: 1\nwarmup_sizes: []\nlimits:\n  hard_mb: 64\n");
    let run = warmheap(&["bench", "--trace", &trace, "--device", "sim", "--config", &tight, "--rounds", "2"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("the pool could not serve 4 requests; the first is event 2"), "{run:?}");
    assert!(run.stdout.contains("Pool, over 2 rounds"), "the figures are printed as well: {run:?}");
}

#[test]
fn a_bench_never_overwrites_what_it_reads() {
    let folder = Folder::new();
    let trace = folder.file("run.csv", small_trace());
    let settings = folder.file("pool.yaml", "heap_size_mb: 64\n");
    let sidecar = folder.path("run.json").display().to_string();
    let bench = ["bench", "--device", "sim", "--trace", &trace, "--config", &settings, "--rounds", "1"];
    for output in [&sidecar, &trace, &settings] {
        let before = std::fs::read(output).ok();
        let run = warmheap(&[&bench[..], &["--output", output]].concat());
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{output}: {run:?}");
        assert!(run.stderr.contains("name another file"), "{run:?}");
        assert_eq!(std::fs::read(output).ok(), before, "{output}");
    }
    // Also by another spelling.
    let other = folder.path("./nothing/../run.json").display().to_string();
    std::fs::create_dir(folder.path("nothing")).unwrap();
    assert_eq!(warmheap(&[&bench[..], &["--output", &other]].concat()).code, 2);
    // A result in the place of a sidecar is not taken for one.
    let result = warmheap(&[&bench[..], &["--json"]].concat());
    assert_eq!(result.code, 0);
    folder.file("run.json", result.stdout);
    let run = warmheap(&bench);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("sidecar belongs here"), "{run:?}");
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_the_run() {
    let folder = Folder::new();
    let trace = folder.file("run.csv", small_trace());
    let bench = ["bench", "--device", "sim", "--trace", &trace, "--rounds", "1", "--output"];
    for place in [folder.path("nothing/b.json"), folder.path("")] {
        let place = place.display().to_string();
        let run = warmheap(&[&bench[..], &[&place]].concat());
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{place}: {run:?}");
        assert!(run.stderr.contains("cannot be written"), "{run:?}");
    }
    // A run that fails leaves no empty file, and an older result as it was.
    let failed = folder.path("failed.json").display().to_string();
    let bad = ["bench", "--device", "sim:budget=1", "--trace", &trace, "--output"];
    assert_eq!(warmheap(&[&bad[..], &[&failed]].concat()).code, 1);
    assert!(!folder.path("failed.json").exists());
    let old = folder.file("old.json", "an older result, which is longer than nothing");
    assert_eq!(warmheap(&[&bad[..], &[&old]].concat()).code, 1);
    assert!(std::fs::read_to_string(&old).unwrap().starts_with("an older result"));
    assert_eq!(warmheap(&[&bench[..], &[&old]].concat()).code, 0);
    assert_eq!(read(&old)["command"], json!("bench"));
}

#[test]
fn reserved_is_the_peak_and_what_is_held_when_the_trace_ends() {
    let folder = Folder::new();
    let trace = folder.file("tight.csv", TIGHT.replace("0,0.6,free,0x3,52428800,0\n", ""));
    let small =
        folder.file("small.yaml", "heap_size_mb: 8\nnum_heaps: 1\nwarmup_sizes: []\nlog_exhaustion: false\n");
    let run = warmheap(&[
        "bench", "--device", "sim", "--trace", &trace, "--config", &small, "--rounds", "2", "--json",
    ]);
    let result = run.json();
    let mib = |key: &str| result[key].as_u64().unwrap() >> 20;
    assert_eq!((mib("peak_reserved_bytes"), mib("end_reserved_bytes")), (158, 58));
}

#[test]
fn bench_shows_the_time_to_first_token_that_the_trace_marks() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let args = ["bench", "--device", "sim", "--trace", &trace, "--rounds", "3"];
    let run = warmheap(&args);
    assert!(run.stdout.contains("No time to first token"), "{run:?}");
    let sidecar = |marks: &str| folder.file("small.json", format!(r#"{{"decode_steps": 5, {marks}}}"#));
    sidecar(r#""serving_from_event": 20, "decoding_from_event": 220, "second_decode_from_event": 320"#);
    let result = warmheap(&[&args[..], &["--json"]].concat()).json();
    // Two events pass in a millisecond.
    assert_eq!(result["prefill_compute_ms"], json!(100.0));
    assert_eq!(result["first_decode_compute_ms"], json!(50.0));
    for side in ["baseline", "pool"] {
        for state in ["cold", "warm"] {
            let first = &result[side][state];
            let allocation = first["prefill_allocation_ms"].as_f64().unwrap();
            assert!(allocation > 0.0, "{side} {state}");
            assert_eq!(first["time_to_first_token_ms"], json!(100.0 + allocation));
            assert!(first["first_decode_ms"].as_f64().unwrap() > 50.0);
        }
    }
    let table = warmheap(&args).stdout;
    for row in ["Time to first token, cold", "Time to first token, warm", "First decode step, cold"] {
        assert!(table.contains(row), "no `{row}` in {table}");
    }
    // Marks in the wrong order, or past the end, are errors.
    for marks in [
        r#""serving_from_event": 20, "decoding_from_event": 20"#,
        r#""decoding_from_event": 220, "second_decode_from_event": 120"#,
        r#""decoding_from_event": 99999"#,
    ] {
        sidecar(marks);
        let run = warmheap(&args);
        assert_eq!(run.code, 1, "{marks}: {run:?}");
        assert!(run.stderr.contains("must be an event of the trace"), "{run:?}");
    }
}

#[test]
fn the_bundled_trace_has_a_time_to_first_token() {
    let result = warmheap(&["bench", "--device", "sim", "--rounds", "2", "--json"]).json();
    let compute = result["prefill_compute_ms"].as_f64().unwrap();
    for side in ["baseline", "pool"] {
        let first = result[side]["warm"]["time_to_first_token_ms"].as_f64().unwrap();
        assert!(first > compute && compute > 100.0, "{first} with {compute}");
    }
}

#[test]
fn compare_refuses_what_is_not_alike() {
    let folder = Folder::new();
    let trace = folder.file("a.csv", small_trace());
    let copy = folder.file("b.csv", small_trace());
    let other = folder.file("c.csv", small_trace().replace(",7920,", ",7921,"));
    let small = folder.file("small.yaml", "heap_size_mb: 64\nnum_heaps: 1\nwarmup_sizes: []\n");
    let result = |name: &str, args: &[&str]| {
        let run = warmheap(&[&["replay"], args, &["--json", "--rounds", "2"]].concat());
        assert_eq!(run.code, 0, "{run:?}");
        folder.file(name, run.stdout)
    };
    let one = result("one.json", &[&trace]);
    let benched = folder.path("bench.json").display().to_string();
    let bench = ["bench", "--device", "sim", "--trace", &trace, "--rounds", "2", "--output", &benched];
    assert_eq!(warmheap(&bench).code, 0);
    for (other, what) in [
        (result("threads.json", &[&trace, "--threads", "2"]), "numbers of threads: 1 and 2"),
        (result("remote.json", &[&trace, "--remote-free"]), "uses of --remote-free"),
        (result("device.json", &[&trace, "--device", "sim:discrete"]), "devices"),
        (result("other.json", &[&other]), "traces"),
        (result("config.json", &[&trace, "--config", &small]), "settings"),
        (benched, "commands: replay and bench"),
    ] {
        for pair in [[&one, &other], [&other, &one]] {
            let run = warmheap(&["compare", pair[0], pair[1]]);
            assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{what}: {run:?}");
            assert!(run.stderr.contains("cannot be compared"), "{run:?}");
        }
        let run = warmheap(&["compare", &one, &other]);
        assert!(run.stderr.contains(what), "{what}: {run:?}");
    }
    // The same requests under another name are alike, and so are other settings if asked for.
    let same = result("copy.json", &[&copy]);
    let run = warmheap(&["compare", &one, &same, "--threshold", "1000"]);
    assert_eq!(run.code, 0, "{run:?}");
    let config = folder.path("config.json").display().to_string();
    let run = warmheap(&["compare", &one, &config, "--any-config"]);
    assert!(run.stdout.contains("Allocation, p50"), "{run:?}");
}

#[test]
fn a_time_that_was_measured_once_is_shown_but_not_judged() {
    let folder = Folder::new();
    let trace = folder.file("a.csv", small_trace());
    let result = |name: &str| {
        let output = folder.path(name).display().to_string();
        let args = ["bench", "--device", "sim", "--trace", &trace, "--rounds", "1", "--output", &output];
        assert_eq!(warmheap(&args).code, 0);
        output
    };
    let run = warmheap(&["compare", &result("one.json"), &result("two.json"), "--threshold", "0"]);
    let table = run.stdout;
    let line = table.lines().find(|line| line.contains("Allocation, serving")).unwrap();
    assert!(line.contains("once") && !line.contains("worse"), "{table}");
    assert!(table.contains("measured once is not judged"), "{table}");
}

#[test]
fn results_of_different_rounds_compare() {
    let folder = Folder::new();
    let trace = folder.file("a.csv", small_trace());
    // The device serves what the heap of 1 MiB cannot, in every round.
    let small = folder.file("small.yaml", "heap_size_mb: 0.25\nnum_heaps: 1\nwarmup_sizes: []\n");
    let result = |name: &str, rounds: &str| {
        let output = folder.path(name).display().to_string();
        let bench = ["bench", "--device", "sim", "--trace", &trace, "--config", &small];
        let run = warmheap(&[&bench[..], &["--rounds", rounds, "--output", &output]].concat());
        assert_eq!(run.code, 0, "{run:?}");
        output
    };
    let (few, many) = (result("few.json", "2"), result("many.json", "8"));
    for pair in [[&few, &many], [&many, &few]] {
        let run = warmheap(&["compare", pair[0], pair[1], "--json", "--threshold", "20"]);
        let result: Value = serde_json::from_str(&run.stdout).unwrap();
        for name in ["Calls, later rounds", "Fallbacks, round 1", "Fallbacks, later rounds"] {
            let lines = result["lines"].as_array().unwrap();
            let line = lines.iter().find(|line| line["name"] == name).unwrap();
            assert!(line["before"].as_f64().unwrap() > 0.0, "{line}");
            assert_eq!(line["regression"], json!(false), "{line}");
        }
    }
}

#[test]
fn heaps_that_grow_in_the_first_round_make_no_difference_to_later_ones() {
    let folder = Folder::new();
    let trace = folder.file("a.csv", small_trace());
    let grows = folder.file("grows.yaml", "heap_sizing: elastic\n");
    let result = |rounds: &str| {
        let output = folder.path(rounds).display().to_string();
        let bench = ["bench", "--device", "sim", "--trace", &trace, "--config", &grows];
        let run = warmheap(&[&bench[..], &["--rounds", rounds, "--output", &output]].concat());
        assert_eq!(run.code, 0, "{run:?}");
        output
    };
    let (few, many) = (result("2"), result("9"));
    for pair in [[&few, &many], [&many, &few]] {
        let run = warmheap(&["compare", pair[0], pair[1], "--json", "--threshold", "1"]);
        let result: Value = serde_json::from_str(&run.stdout).unwrap();
        let lines = result["lines"].as_array().unwrap();
        let calls: Vec<_> =
            lines.iter().filter(|line| line["name"].as_str().unwrap().starts_with("Calls")).collect();
        assert_eq!(calls.len(), 2, "{run:?}");
        assert!(calls[0]["before"].as_f64().unwrap() > 0.0, "{run:?}");
        assert!(calls.iter().all(|line| line["regression"] == json!(false)), "{run:?}");
    }
}

#[test]
fn compare_names_what_it_compares_when_it_gets_something_else() {
    let folder = Folder::new();
    let trace = folder.file("a.csv", small_trace());
    let soak = warmheap(&["soak", "--minutes", "0.01", "--trace", &trace, "--json"]);
    let soak = folder.file("soak.json", soak.stdout);
    let devices = folder.file("devices.json", warmheap(&["devices", "--json"]).stdout);
    let newer = folder.file("newer.json", r#"{"command": "bench", "schema_version": 9}"#);
    let other = folder.file("other.json", r#"{"peak_reserved_bytes": 1}"#);
    for (file, what) in [
        (soak, "a result of `soak`, which has no figures to compare"),
        (devices, "a result of `devices`"),
        (newer, "a result of version 9; this command reads version 1"),
        (other, "no result of this command"),
    ] {
        let run = warmheap(&["compare", &file, &file]);
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
        assert!(
            run.stderr.contains(what) && run.stderr.contains("two results of `bench --output`"),
            "{run:?}"
        );
    }
}

#[test]
fn compare_shows_figures_that_fit_their_columns() {
    let folder = Folder::new();
    let result = |hit_rate: f64, fallbacks: u64| {
        let text = json!({
            "command": "replay", "schema_version": 1, "hit_rate": hit_rate, "fallback_allocations": fallbacks,
        });
        folder.file(&format!("{fallbacks}.json"), text.to_string())
    };
    let (before, after) = (result(0.987_654_321_987_654, 12_345_678), result(0.987_654_32, 12_345_679));
    let run = warmheap(&["compare", &before, &after]);
    assert_eq!(run.code, 0, "{run:?}");
    for figure in ["98.8 %", "12,345,678", "+ < 0.1 %", "- < 0.1 %", "No figure is worse by more than 5 %"] {
        assert!(run.stdout.contains(figure), "no `{figure}` in {}", run.stdout);
    }
}

#[test]
fn more_rounds_measure_a_slow_start_more_often() {
    let folder = Folder::new();
    let trace = folder.file("one.csv", "Thread,Time,Action,Pointer,Size,Stream\n0,0,allocate,1,64,0\n");
    let heap = folder.file("heap.yaml", "heap_size_mb: 64\nnum_heaps: 1\nwarmup_sizes: [64]\n");
    let bench = |rounds: &str| {
        let device = "sim:latency=600000";
        let run = ["bench", "--device", device, "--trace", &trace, "--config", &heap, "--rounds", rounds];
        warmheap(&[&run[..], &["--json"]].concat()).json()["startups_ms"].as_array().unwrap().len()
    };
    assert_eq!(bench("1"), 1);
    assert_eq!(bench("3"), 3);
}

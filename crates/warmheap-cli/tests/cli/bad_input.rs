//! Whatever its input, the command prints one line that says where the fault is and what to do, and exits
//! with 1 or 2.

use crate::run::{Folder, Run, small_trace, warmheap};

/// Asserts that a run printed one line with these words on standard error, nothing on standard output, and
/// exited with this code.
fn refused(run: &Run, code: i32, words: &[&str]) {
    assert_eq!(run.code, code, "{run:?}");
    assert_eq!(run.stdout, "", "{run:?}");
    assert_eq!(run.stderr.trim_end().lines().count(), 1, "{run:?}");
    assert!(run.stderr.starts_with("error: "), "{run:?}");
    for word in words {
        assert!(run.stderr.contains(word), "no `{word}` in {run:?}");
    }
}

#[test]
fn a_bad_trace_is_refused_with_its_line_and_a_remedy() {
    let folder = Folder::new();
    let good = small_trace();
    let with = |line: &str| format!("Thread,Time,Action,Pointer,Size,Stream\n{line}\n");
    let bundled = include_bytes!("../../../../traces/qwen05b_short.csv.zst");
    let truncated_gzip = {
        use flate2::{Compression, write::GzEncoder};
        use std::io::Write;
        let mut gzip = GzEncoder::new(vec![], Compression::fast());
        gzip.write_all(good.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        gzip[..gzip.len() / 2].to_vec()
    };
    let cases: [(Vec<u8>, &[&str]); 15] = [
        (vec![], &[":1: ", "header", "give an RMM replay log"]),
        (b"a,b,c\n1,2,3\n".to_vec(), &[":1: ", "header is `a,b,c`"]),
        (bundled[..bundled.len() / 2].to_vec(), &["truncated or damaged", "copy or record it again"]),
        (truncated_gzip, &["truncated or damaged"]),
        (with("0,0,free,0x1,8,0").into(), &[":2: ", "free of pointer 0x1", "leniently"]),
        (with("0,0,allocate,0x1,0,0").into(), &[":2: ", "allocation of 0 bytes"]),
        (with("0,0,allocate,0x1,9223372036854775808,0").into(), &[":2: ", "below 2^63"]),
        (with("0,0,allocate,0x1,8,0\n0,0,allocate,0x1,8,0").into(), &[":3: ", "still live"]),
        (with("0,0,allocate,0x1,eight,0").into(), &[":2: ", "Size is `eight`", "expected"]),
        (with("0,0,allocate,0x1,-8,0").into(), &[":2: ", "Size is `-8`"]),
        (with("0,1e30,allocate,0x1,8,0").into(), &[":2: ", "Time is `1e30`"]),
        (with("0,0,allocate,0x1,8").into(), &[":2: ", "5 columns instead of 6"]),
        (with("0,0,borrow,0x1,8,0").into(), &[":2: ", "Action is `borrow`"]),
        (with("").into(), &["no events"]),
        ([with("0,0,").into_bytes(), vec![0xff, 0xfe, b'\n']].concat(), &[":2: "]),
    ];
    for (i, (contents, words)) in cases.iter().enumerate() {
        let path = folder.file(&format!("{i}.csv"), contents);
        for command in [&["replay", &path][..], &["bench", "--device", "sim", "--trace", &path]] {
            refused(&warmheap(command), 1, words);
        }
    }
    let directory = folder.path("").display().to_string();
    refused(&warmheap(&["replay", &directory]), 1, &["cannot be opened", "directory"]);
    refused(&warmheap(&["replay", "/no/such/trace"]), 1, &["/no/such/trace: cannot be opened", "give"]);
}

#[test]
fn a_bad_configuration_is_refused_by_every_command_that_takes_one() {
    let folder = Folder::new();
    let trace = folder.file("good.csv", small_trace());
    let pool = |lines: &str| format!("metal_optimizations:\n  memory_pool:\n    {lines}\n");
    let bomb = {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..10 {
            let before = format!("*a{}", i - 1);
            text += &format!("a{i}: &a{i} [{}]\n", [before.as_str(); 9].join(", "));
        }
        text + "memory_pool: {num_heaps: *a9}\n"
    };
    let cases: [(String, &str); 12] = [
        (pool("heap_sise_mb: 4"), "heap_size_mb"),
        (pool("num_heap: 4"), "num_heaps"),
        (pool("colour: blue"), "colour"),
        (pool("num_heaps: many"), "num_heaps"),
        (pool("num_heaps: 0"), "num_heaps"),
        (pool("heap_size_mb: -1"), "heap_size_mb"),
        (pool("heap_size_mb: 1e30"), "heap_size_mb"),
        (pool("growth_trigger: 1.5"), "growth_trigger"),
        (pool("allocation_strategy: 'fastest'"), "allocation_strategy"),
        (bomb, "alias"),
        (String::new(), "no settings here"),
        ("metal_optimizations: [\n".to_owned(), ":"),
    ];
    for (i, (text, word)) in cases.iter().enumerate() {
        let config = folder.file(&format!("{i}.yaml"), text);
        for command in [
            &["check", &config][..],
            &["replay", &trace, "--config", &config],
            &["bench", "--device", "sim", "--trace", &trace, "--config", &config],
        ] {
            refused(&warmheap(command), 1, &[&format!("{i}.yaml"), word]);
        }
    }
    let directory = folder.path("").display().to_string();
    refused(&warmheap(&["check", &directory]), 1, &["cannot read", "give"]);
    refused(&warmheap(&["check", "/no/such.yaml"]), 1, &["/no/such.yaml", "give"]);
}

#[test]
fn a_wrong_command_line_is_refused_in_one_line() {
    let folder = Folder::new();
    let trace = folder.file("good.csv", small_trace());
    let cases: [(&[&str], &str); 13] = [
        (&[], "a command is missing"),
        (&["bnch"], "bench"),
        (&["replay"], "<TRACE>"),
        (&["replay", &trace, "--threads", "0"], "whole number from 1"),
        (&["replay", &trace, "--threads", "-1"], "--threads"),
        (&["replay", &trace, "--rounds", "1e30"], "whole number from 1"),
        (&["soak", "--minutes", "0"], "minutes above 0"),
        (&["replay", &trace, "--device", "gpu"], "host, sim, metal or cuda"),
        (&["replay", &trace, "--device", "sim:budget=0"], "budget"),
        (&["replay", &trace, "--verifyy"], "--verify"),
        (&["compare", "a.json"], "<AFTER>"),
        (&["check", "x.yaml", "--ram-gb", "0"], "--ram-gb"),
        (&["compare", "a", "b", "--threshold", "NaN"], "percent"),
    ];
    for (args, word) in cases {
        refused(&warmheap(args), 2, &[word, "see `warmheap --help`"]);
    }
}

#[test]
fn results_that_cannot_be_read_compared_or_written_are_refused() {
    let folder = Folder::new();
    let trace = folder.file("good.csv", small_trace());
    let text = folder.file("text.json", "not json");
    let empty = folder.file("empty.json", "");
    let other = folder.file("other.json", r#"{"a": 1}"#);
    refused(&warmheap(&["compare", &text, &other]), 1, &["text.json", "give"]);
    refused(&warmheap(&["compare", &other, &empty]), 1, &["empty.json", "give"]);
    refused(&warmheap(&["compare", &other, &other]), 1, &["no result of this command", "give"]);
    refused(&warmheap(&["compare", &other, "/no/such.json"]), 1, &["/no/such.json", "give"]);
    let lost = ["bench", "--device", "sim", "--trace", &trace, "--output", "/no/such/folder/a.json"];
    refused(&warmheap(&lost), 1, &["cannot be written", "check the folder"]);
    folder.file("good.json", "{");
    refused(&warmheap(&["bench", "--device", "sim", "--trace", &trace]), 1, &["good.json"]);
}

#[test]
fn a_pool_that_cannot_start_says_which_heap_failed() {
    let folder = Folder::new();
    let trace = folder.file("good.csv", small_trace());
    let config =
        folder.file("a.yaml", "memory_pool:\n  heap_size_mb: 256\n  num_heaps: 4\n  warmup_sizes: [32]\n");
    let run = warmheap(&["replay", &trace, "--config", &config, "--device", "sim:budget=600"]);
    refused(&run, 1, &["heap 3 of 4", "256 MiB", "reduce"]);
}

#[test]
fn a_device_that_is_not_here_says_what_would_be() {
    let folder = Folder::new();
    let trace = folder.file("good.csv", small_trace());
    if cfg!(not(target_vendor = "apple")) {
        refused(&warmheap(&["replay", &trace, "--device", "metal"]), 1, &["metal", "--device"]);
    }
}

#[test]
fn a_bad_log_level_is_refused() {
    let mut command = assert_cmd::Command::cargo_bin("warmheap").unwrap();
    let output = command.arg("devices").env("WARMHEAP_LOG", "loud").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("off, error, warn"));
}

#[test]
fn a_sidecar_from_which_no_figure_follows_is_refused() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    for (sidecar, words) in [
        (r#"{"decode_steps": 0}"#, "decode_steps is 0; it must be at least 1"),
        (r#"{"serving_from_event": 99999}"#, "serving_from_event is 99999; it must be an event of the trace"),
        (r#"{"serving_from_event": 1179}"#, "before the last one"),
    ] {
        folder.file("small.json", sidecar);
        for command in [&["bench", "--device", "sim", "--trace"][..], &["replay"]] {
            let run = warmheap(&[command, &[&trace, "--rounds", "1"]].concat());
            assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
            assert!(run.stderr.contains(words), "{run:?}");
        }
    }
}

#[test]
fn no_figure_is_infinite_where_the_clock_of_a_trace_stands() {
    let folder = Folder::new();
    let lines = "Thread,Time,Action,Pointer,Size,Stream\n0,5,allocate,1,64,0\n0,5,free,1,64,0\n";
    let trace = folder.file("still.csv", lines);
    folder.file("still.json", r#"{"decode_steps": 1}"#);
    let bench = ["bench", "--device", "sim", "--trace", &trace, "--rounds", "1"];
    let run = warmheap(&bench);
    assert!(run.stdout.contains("no time passes in the trace"), "{run:?}");
    for word in run.stdout.split_whitespace() {
        assert!(!["inf", "-inf", "NaN"].contains(&word), "{}", run.stdout);
    }
    let result = warmheap(&[&bench[..], &["--json"]].concat()).json();
    assert!(result["pool"]["tokens_per_second"].is_null(), "{result}");
    // A number that JSON cannot write would have become null.
    assert!(result["reduction"].is_number(), "{result}");
}

//! Mistakes that operators make: options, files of other programs, variables, places that cannot be written. Each
//! ends with words that say what is wrong and what would be right.

use assert_cmd::Command;

use crate::run::{Folder, small_trace, warmheap};

const ONE: &str = "Thread,Time,Action,Pointer,Size,Stream\n0,0,allocate,1,64,0\n";

#[test]
fn a_wrong_number_says_which_numbers_are_right() {
    for (arguments, right) in [
        (&["check", "a.yaml", "--ram-gb", "16GB"][..], "it must be a whole number of GiB from 1 to 1048576"),
        (&["check", "a.yaml", "--ram-gb", "0"], "it must be a whole number of GiB from 1"),
        (&["check", "a.yaml", "--model-mb", "1e3"], "it must be a whole number of MiB from 1"),
        (&["watch", "a.json", "--interval", "0.5"], "it must be a whole number of seconds from 1 to 3600"),
        (&["soak", "--seed", "-1"], "it must be a whole number from 0 to 18446744073709551615"),
    ] {
        let run = warmheap(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{run:?}");
        assert!(run.stderr.contains(right), "{run:?}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_named_and_no_other() {
    let folder = Folder::new();
    let trace = folder.file("one.csv", ONE);
    let bench = ["bench", "--device", "sim", "--trace", &trace, "--rounds", "1", "--output"];
    let missing = folder.path("no/b.json").display().to_string();
    for run in [warmheap(&[&bench[..], &[&missing]].concat()), warmheap(&["man", &missing])] {
        assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{run:?}");
        assert!(run.stderr.contains(&missing) && !run.stderr.contains(".warmheap-"), "{run:?}");
    }
    // The result that a dash would ask for is on standard output already.
    let run = warmheap(&[&bench[..], &["-"]].concat());
    assert!(run.code == 2 && run.stderr.contains("--json"), "{run:?}");
    assert!(!std::path::Path::new("-").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_output_is_a_failure_of_every_command() {
    let folder = Folder::new();
    let file = folder.file("pool.yaml", "num_heaps: 2\nwarmup_sizes: []\n");
    for arguments in
        [&["--help"][..], &["--version"], &["help", "bench"], &["check", &file], &["completions", "fish"]]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let program = assert_cmd::cargo::cargo_bin("warmheap");
        let output = std::process::Command::new(program).args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
    }
}

#[test]
fn a_damaged_trace_is_described_in_words() {
    let folder = Folder::new();
    let bundled = include_bytes!("../../../../traces/qwen05b_short.csv.zst");
    for length in [6, 1000, bundled.len() - 1] {
        let run = warmheap(&["replay", &folder.file("cut.csv.zst", &bundled[..length])]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains("the compressed data ends early"), "{length}: {run:?}");
        assert!(!run.stderr.contains("Error"), "no words of a program: {run:?}");
    }
    let mut wrong = bundled.to_vec();
    wrong[200..300].fill(0xff);
    let run = warmheap(&["replay", &folder.file("wrong.csv.zst", wrong)]);
    assert!(run.code == 1 && run.stderr.contains("the file is truncated or damaged"), "{run:?}");
    assert!(!run.stderr.contains("Error"), "no words of a program: {run:?}");
}

#[test]
fn a_log_that_a_spreadsheet_wrote_is_read_and_other_separators_are_named() {
    let folder = Folder::new();
    let quoted: String =
        small_trace().lines().map(|line| format!("\"{}\"\r\n", line.replace(',', "\",\""))).collect();
    let plain = warmheap(&["replay", &folder.file("a.csv", small_trace()), "--rounds", "1", "--json"]).json();
    let read = warmheap(&["replay", &folder.file("b.csv", quoted), "--rounds", "1", "--json"]).json();
    assert_eq!(read["trace_fingerprint"], plain["trace_fingerprint"]);
    for separator in [";", "\t", "|"] {
        let run = warmheap(&["replay", &folder.file("c.csv", ONE.replace(',', separator))]);
        assert!(run.code == 1 && run.stderr.contains("with commas between them"), "{run:?}");
    }
}

#[test]
fn a_variable_that_is_empty_names_no_file_and_a_wrong_one_is_named() {
    let folder = Folder::new();
    let trace = folder.file("one.csv", ONE);
    let replay = |file: &str| {
        let mut process = Command::cargo_bin("warmheap").unwrap();
        process.args(["replay", &trace, "--rounds", "1"]).env("WARMHEAP_CONFIG", file).output().unwrap()
    };
    assert_eq!(replay("").status.code(), Some(0));
    for file in ["/nope.yaml".to_owned(), folder.file("bad.yaml", "num_heaps: many\n")] {
        let output = replay(&file);
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(words.starts_with(&format!("error: WARMHEAP_CONFIG: {file}")), "{words}");
    }
}

#[test]
fn a_sidecar_with_a_misspelt_key_or_another_shape_is_told() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let bench = ["bench", "--device", "sim", "--trace", &trace, "--rounds", "1"];
    folder.file("small.json", r#"{"decode_step": 5, "events": 1180}"#);
    let run = warmheap(&bench);
    assert!(
        run.code == 0 && run.stderr.contains("no keys of a sidecar, so ignored: decode_step\n"),
        "{run:?}"
    );
    folder.file("small.json", "[]");
    let run = warmheap(&bench);
    assert!(run.code == 1 && run.stderr.contains("not a sidecar (its JSON is no object)"), "{run:?}");
    // The bundled sidecar has known keys only.
    assert_eq!(warmheap(&["bench", "--device", "sim", "--rounds", "1"]).stderr, "");
}

#[test]
fn a_small_request_that_no_heap_serves_is_logged_with_its_size() {
    let folder = Folder::new();
    let trace = folder.file("one.csv", ONE);
    let run = warmheap(&["replay", &trace, "--rounds", "1", "--device", "host:budget=1"]);
    assert!(run.stderr.contains("Heap exhausted for 64B allocation, falling back"), "{run:?}");
}

#[test]
fn settings_by_a_pipe_have_a_name_in_errors() {
    let mut command = Command::cargo_bin("warmheap").unwrap();
    let output = command.args(["check", "-"]).write_stdin("num_heap: 2").output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.starts_with("error: standard input: line 1: unknown key `num_heap`"), "{words}");
}

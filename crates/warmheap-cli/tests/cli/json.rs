//! The JSON of each command has the keys that docs/json.md lists, and no others. The samples there have its shape.

use std::collections::BTreeSet;
use std::fs;
use std::mem::discriminant;
use std::path::Path;

use crate::run::{Folder, small_trace, warmheap};
use serde_json::{Value, json};

/// Adds the keys of a value at any depth. Statistics have a document of their own.
fn keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                into.insert(key.clone());
                if key != "statistics" {
                    keys(value, into);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|entry| keys(entry, into)),
        _ => (),
    }
}

/// Returns the words in backticks that may be keys.
fn words(text: &str) -> BTreeSet<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .filter(|word| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
        .map(str::to_owned)
        .collect()
}

/// Returns the text of a section, up to the next one of its level.
fn section<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n## {name}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// Returns the samples in a text.
fn samples(text: &str) -> Vec<Value> {
    let blocks = text.split("\n```json\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    blocks.map(|block| serde_json::from_str(block).unwrap_or_else(|e| panic!("{e} in {block}"))).collect()
}

/// Asserts that two values have the same keys and types at any depth, as far as both know them. Statistics have
/// a document of their own.
fn assert_alike(sample: &Value, printed: &Value, place: &str) {
    match (sample, printed) {
        (Value::Null, _) | (_, Value::Null) => (),
        (Value::Object(sample), Value::Object(printed)) if !place.ends_with("/statistics") => {
            let [ours, theirs] = [sample, printed].map(|object| object.keys().collect::<BTreeSet<_>>());
            assert_eq!(ours, theirs, "the sample of docs/json.md and what is printed differ in {place}");
            for (key, value) in sample {
                assert_alike(value, &printed[key], &format!("{place}/{key}"));
            }
        }
        (Value::Array(sample), Value::Array(printed)) => {
            for (one, other) in sample.iter().zip(printed) {
                assert_alike(one, other, place);
            }
        }
        _ => assert_eq!(discriminant(sample), discriminant(printed), "{place}: {sample} and {printed}"),
    }
}

#[test]
fn the_samples_of_watch_and_of_errors_are_what_is_printed() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md")).unwrap();
    let folder = Folder::new();
    let [sample] = &samples(section(&text, "watch"))[..] else { panic!("watch has one sample") };
    let file = folder.file("stats.json", sample.to_string());
    let printed = warmheap(&["watch", &file, "--once", "--json"]);
    assert_alike(sample, &printed.json(), "watch");
    let [sample] = &samples(text.split("\n## ").next().unwrap())[..] else {
        panic!("errors have one sample")
    };
    let printed = warmheap(&["--json", "check", "/no/such/file"]).stderr;
    assert_alike(sample, &serde_json::from_str(&printed).unwrap(), "error");
    assert_eq!(printed.lines().count(), 1);
}

#[test]
fn the_keys_of_every_command_are_those_of_the_document() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/json.md");
    let text = fs::read_to_string(document).unwrap();
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    folder.file(
        "small.json",
        r#"{"decode_steps": 5, "decoding_from_event": 220, "second_decode_from_event": 320}"#,
    );
    // The pool of 100 MiB cannot serve the first buffer, and proposes settings.
    let large =
        folder.file("large.csv", "Thread,Time,Action,Pointer,Size,Stream\n0,0,allocate,0x1,209715200,0\n");
    let tight = folder.file("tight.yaml", "heap_size_mb: 100\nnum_heaps: 1\nlimits:\n  hard_mb: 100\n");
    let loose = folder
        .file("loose.yaml", "heap_size_mb: 64\nnum_heaps: 3\nwarmup_sizes: [512]\nlog_exhaustion: false\n");
    let result = folder.path("one.json").display().to_string();
    let bench = ["bench", "--trace", &trace, "--device", "sim", "--rounds", "2", "--output", &result];
    let commands: [(&str, &[&[&str]]); 6] = [
        (
            "replay",
            &[
                &["replay", &large, "--rounds", "2", "--config", &tight],
                &["replay", &large, "--config", &loose],
            ],
        ),
        ("bench", &[&bench, &["bench", "--trace", &large, "--device", "sim", "--config", &tight]]),
        ("compare", &[&["compare", &result, &result]]),
        ("check", &[&["check", &loose], &["check", &tight]]),
        ("devices", &[&["devices"]]),
        ("soak", &[&["soak", "--minutes", "0.01", "--trace", &trace]]),
    ];
    for (command, runs) in commands {
        let mut printed = BTreeSet::new();
        let [sample] = &samples(section(&text, command))[..] else { panic!("{command} has one sample") };
        for arguments in runs {
            let run = warmheap(&[arguments, &["--json"][..]].concat());
            let value: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
            let first = value.get(0).unwrap_or(&value);
            assert_eq!((&first["command"], &first["schema_version"]), (&json!(command), &json!(1)));
            keys(&value, &mut printed);
            assert_alike(sample, &value, command);
        }
        let own = section(&text, command);
        let shared = if own.contains("(#judgements)") { section(&text, "Judgements") } else { "" };
        let head = text.split("\n## ").next().unwrap();
        let known: BTreeSet<String> = [head, own, shared].into_iter().flat_map(words).collect();
        let unknown: Vec<_> = printed.difference(&known).collect();
        assert!(unknown.is_empty(), "docs/json.md does not have {unknown:?} of {command}");
        // The first column has nothing but keys.
        let rows = own.lines().filter(|line| line.starts_with("| `"));
        let listed = rows.flat_map(|row| words(row.split(" | ").next().unwrap()));
        for key in listed {
            assert!(printed.contains(&key), "{command} does not print {key}");
        }
    }
}

#[test]
fn a_file_of_bench_is_what_it_prints_and_errors_have_a_version() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let result = folder.path("one.json").display().to_string();
    let run = warmheap(&[
        "bench", "--trace", &trace, "--device", "sim", "--rounds", "1", "--output", &result, "--json",
    ]);
    assert_eq!(fs::read_to_string(&result).unwrap(), run.stdout);
    let error = warmheap(&["--json", "check", "/no/such/file"]).stderr;
    let error: Value = serde_json::from_str(&error).unwrap();
    assert_eq!(error["schema_version"], json!(1));
}

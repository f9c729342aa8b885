//! The documents show what the command prints.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assert_cmd::Command;

use crate::run::{Folder, small_trace, warmheap};

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
}

/// Returns the fenced blocks of a document that are plain text: what a command prints.
fn outputs(text: &str) -> Vec<&str> {
    let blocks = text.split("\n```text\n").skip(1);
    blocks.map(|rest| rest.split_once("```").unwrap().0).collect()
}

/// Returns the commands that the help lists.
fn commands() -> BTreeSet<String> {
    let help = warmheap(&["--help"]).stdout;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let names = list.lines().take_while(|line| !line.is_empty());
    names.filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned)).collect()
}

#[test]
fn the_readme_lists_every_command() {
    let text = document("README.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `warmheap "));
    let mut listed: BTreeSet<String> =
        rows.map(|row| row.split([' ', '`']).next().unwrap().to_owned()).collect();
    // The text above the table introduces it.
    listed.insert("bench".to_owned());
    listed.insert("help".to_owned());
    assert_eq!(listed, commands());
}

#[test]
fn every_option_that_the_documents_name_is_in_a_help() {
    let help: String = commands().iter().map(|name| warmheap(&[name, "--help"]).stdout).collect();
    let known: BTreeSet<&str> =
        help.split([' ', ',', '\n', '=', '`']).filter(|word| word.starts_with("--")).collect();
    let mut named = 0;
    for name in ["README.md", "docs/traces.md", "docs/configuration.md", "docs/testing.md"] {
        let text = document(name);
        let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        // Options of other programs follow their names, except rustc's `--cfg`.
        let ours = spans.filter(|span| span.starts_with("--") || span.starts_with("warmheap "));
        let options = ours.flat_map(|span| span.split(' ')).filter(|word| word.starts_with("--"));
        for option in options.filter(|option| *option != "--cfg") {
            assert!(known.contains(option), "{name}: {option} is in no help");
            named += 1;
        }
    }
    assert!(named > 10, "only {named} options were found");
}

#[test]
fn the_benchmark_in_the_readme_has_the_lines_that_bench_prints() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let printed = warmheap(&["bench", "--trace", &trace, "--rounds", "1", "--tokens", "10"]).stdout;
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = document("README.md");
    let [shown] = outputs(&text)[..] else { panic!("the README shows one output") };
    let (table, baseline) = shown.split_once("Baseline:").unwrap();
    assert!(words(&printed).contains(&words(baseline)), "{printed}");
    for line in table.lines() {
        // A name and its figures are apart by two spaces or more.
        let name = line.trim().split("  ").next().unwrap();
        assert!(printed.contains(name), "`{name}` is not in {printed}");
    }
}

#[test]
fn the_errors_that_configuration_shows_are_those_of_the_command() {
    let folder = Folder::new();
    let path = folder.file(
        "pool.yaml",
        "metal_optimizations:\n  memory_pool:\n    enabled: true\n    heap_size: 4\n    num_heaps: 0\n",
    );
    let good = folder.file("good.yaml", "num_heaps: 2\n");
    let text = document("docs/configuration.md");
    let [file, variable] = outputs(&text)[..] else { panic!("the document shows two outputs") };

    let printed = warmheap(&["check", &path]).stderr;
    let shown = file.replace("pool.yaml", &path);
    assert_eq!(printed.trim().trim_start_matches("error: "), shown.trim());

    let mut process = Command::cargo_bin("warmheap").unwrap();
    let run = process.args(["check", &good]).env("WARMHEAP_SCRUB", "always").output().unwrap();
    assert_eq!(String::from_utf8(run.stderr).unwrap().trim().trim_start_matches("error: "), variable.trim());
}

#[test]
fn traces_lists_the_options_that_each_device_takes() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let refused = warmheap(&["replay", &trace, "--device", "sim:nothing"]).stderr;
    let text = document("docs/traces.md");
    let (_, table) = text.split_once("| Device | Options |").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut devices = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let device = cells[0].trim().trim_matches('`');
        devices += 1;
        let Some((_, clause)) = refused.split_once(&format!("{device} takes ")) else {
            assert_eq!(cells[1].trim_end_matches(" |").trim(), "none", "{device}");
            continue;
        };
        let clause = clause.split(';').next().unwrap();
        for option in cells[1].split([';', ',']).filter_map(|part| part.trim().strip_prefix('`')) {
            let option = option.split('`').next().unwrap();
            assert!(clause.contains(option), "{device}: {option} is not in `{clause}`");
        }
    }
    assert_eq!(devices, 4);
}

#[test]
fn configuration_lists_the_levels_of_the_log() {
    let mut process = Command::cargo_bin("warmheap").unwrap();
    let run = process.arg("devices").env("WARMHEAP_LOG", "loud").output().unwrap();
    let printed = String::from_utf8(run.stderr).unwrap();
    let text = document("docs/configuration.md");
    let row = text.lines().find(|line| line.starts_with("| `WARMHEAP_LOG`")).unwrap();
    let levels = row.rsplit_once("logs: ").unwrap().1.trim_end_matches(" |");
    assert!(printed.contains(levels), "`{levels}` is not in {printed}");
}

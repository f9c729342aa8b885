//! What the documents name exists: files, the items of the library, tests, and the settings of tests. Figures
//! that are kept twice are the same. Texts and comments avoid some words.
//!
//! The changelog and the decisions are left out, because they name what was.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use house_rules::{Members, Source, members};

/// Names that belong to other projects.
const FOREIGN: [&str; 5] = [
    "Device::create_buffer_from_hal",
    "Message::retain",
    "MetalStorage::new",
    "Tensor::from_storage",
    "buffer_from_raw",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file of the repository below `folder`, without what builds leave there.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && name != "target" && name != ".git" {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn all_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found
}

/// The documents with their texts.
fn documents() -> Vec<(String, String)> {
    let files = all_files().into_iter();
    let mut found: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .filter(|path| path.parent().is_some_and(|folder| folder.ends_with("docs") || folder == root()))
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
        })
        .filter(|(name, _)| name != "CHANGELOG.md")
        .collect();
    found.sort();
    assert!(found.len() > 15, "the documents are not where they were");
    found
}

/// The words of a text; a word may have these signs in it, but not at its end.
fn words<'a>(text: &'a str, signs: &'a str) -> impl Iterator<Item = &'a str> {
    let within = move |letter: char| letter.is_alphanumeric() || letter == '_' || signs.contains(letter);
    text.split(move |letter| !within(letter)).map(|word| word.trim_end_matches(['.', ':']))
}

/// The texts in code style within a line.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn members_of_the_library() -> Members {
    let mut all = Members::new();
    for name in ["warmheap", "warmheap-trace", "warmheap-testing"] {
        let source = Source::read(&root().join("crates").join(name).join("src/lib.rs")).unwrap();
        for (parent, names) in members(&source) {
            all.entry(parent).or_default().extend(names);
        }
    }
    all
}

#[test]
fn every_file_that_a_document_names_exists() {
    let files: Vec<String> = all_files().iter().map(|path| path.display().to_string()).collect();
    let mut missing = Vec::new();
    let mut named = 0;
    for (document, text) in documents() {
        let names = words(&text, "./-").map(|name| name.trim_start_matches("./"));
        let is_file = |name: &&str| name.ends_with(".rs") || name.ends_with(".sh") || name.ends_with(".py");
        for name in names.filter(is_file).filter(|name| !name.starts_with('/')) {
            named += 1;
            let end = format!("/{name}");
            if !files.iter().any(|file| file.ends_with(&end)) {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(named > 100, "only {named} names were found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_parts_of_the_pool_have_the_files_that_the_architecture_lists() {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut listed = 0;
    for row in text.lines().filter(|line| line.starts_with("| `pool")) {
        let mut names = spans(row);
        let folder = root().join("crates/warmheap/src").join(names.next().unwrap());
        for file in names.filter(|name| name.ends_with(".rs")) {
            assert!(folder.join(file).exists(), "{} has no {file}", folder.display());
            listed += 1;
        }
    }
    assert!(listed > 40, "only {listed} files were found");
}

#[test]
fn the_glossary_defines_the_words_that_the_architecture_sets_in_italics() {
    let page = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let glossary = fs::read_to_string(root().join("docs/glossary.md")).unwrap().to_lowercase();
    let headings: Vec<&str> = glossary.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let defined: BTreeSet<&str> = headings.iter().flat_map(|heading| heading.split(", ")).collect();
    let plain = page.replace("**", "");
    let italics: BTreeSet<&str> = plain.split('*').skip(1).step_by(2).collect();
    assert!(italics.len() > 25, "{italics:?}");
    let is_defined = |word: &str| {
        let base = word.trim_end_matches('s');
        word == "italics"
            || [word, base, word.trim_end_matches('d')].iter().any(|form| defined.contains(form))
    };
    let missing: Vec<_> = italics.iter().filter(|word| !is_defined(word)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_item_that_a_document_names_exists() {
    let members = members_of_the_library();
    let mut missing = Vec::new();
    let mut found = 0;
    for (document, text) in documents() {
        for path in spans(&text).flat_map(|span| words(span, ":")).filter(|word| word.contains("::")) {
            let parts: Vec<&str> = path.split("::").collect();
            for pair in parts.windows(2).filter(|pair| !pair[1].is_empty()) {
                let Some(names) = members.get(pair[0]) else { continue };
                found += 1;
                if !names.contains(pair[1]) && !FOREIGN.iter().any(|name| path.ends_with(name)) {
                    missing.push(format!("{document}: {path}"));
                }
            }
        }
    }
    assert!(found > 60, "only {found} names were found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_test_and_every_setting_that_testing_names_exists() {
    let text = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let crates = root().join("crates");
    let mut checked = 0;
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cell = row[2..].split(" | ").next().unwrap();
        let Some((areas, topics)) = cell.split_once(": ") else { continue };
        for area in spans(areas) {
            for topic in spans(topics).filter(|topic| !topic.contains(['/', '*'])) {
                let of_crate = crates.join(area).join("tests");
                let places = [
                    of_crate.join(format!("{topic}.rs")),
                    of_crate.join(format!("all/{topic}.rs")),
                    of_crate.join(topic).join("main.rs"),
                    crates.join("warmheap/tests").join(area).join(format!("{topic}.rs")),
                ];
                let is_there = places.iter().any(|place| place.exists());
                checked += usize::from(is_there);
                let elsewhere = spans(areas).count() > 1;
                assert!(is_there || elsewhere, "{area}: {topic}");
            }
        }
    }
    assert!(checked > 25, "only {checked} tests were found");

    let sources: String = all_files()
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs" || end == "sh"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let settings: BTreeSet<&str> = words(&text, "").filter(|word| word.starts_with("WARMHEAP_")).collect();
    assert!(settings.len() > 4, "{settings:?}");
    for setting in settings {
        assert!(sources.contains(setting), "no test reads {setting}");
    }
}

#[test]
fn the_table_of_benchmarks_is_that_of_the_output_kept_beside_it() {
    let text = fs::read_to_string(root().join("docs/benchmarks.md")).unwrap();
    let output = fs::read_to_string(root().join("docs/benchmarks/peers.txt")).unwrap();
    // The output has a table for each trace. Its lines are cells between bars of several kinds.
    let cells = |line: &str| -> Vec<String> {
        line.split(['│', '┆']).map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
    };
    let figures = |trace: &str, contestant: &str| {
        let mut lines =
            output.lines().map(cells).skip_while(|cells| cells.first().is_none_or(|c| c != trace));
        lines.find(|cells| cells.first().is_some_and(|c| *c == contestant)).unwrap()
    };
    let rows: Vec<Vec<String>> = text
        .lines()
        .filter(|line| line.starts_with("| ") && line.matches('|').count() == 6)
        .map(|line| {
            line.trim_matches('|').split('|').map(|cell| cell.replace("**", "").trim().to_owned()).collect()
        })
        .collect();
    let traces = &rows[0][1..];
    assert_eq!(traces.len(), 4, "{rows:?}");
    for row in &rows[1..] {
        for (trace, shown) in traces.iter().zip(&row[1..]) {
            // One thread, 2, 4, 8 and 16, a ratio, and the memory held.
            let kept = match row[0].as_str() {
                "peak reserved / live, elastic" => figures(trace, "warmheap, elastic")[7].clone(),
                "the same, discrete" => figures(trace, "warmheap, discrete")[7].clone(),
                name => {
                    let line = figures(trace, &name.replace("Warmheap", "warmheap"));
                    format!("{} / {} / {}", line[1], line[2], line[5])
                }
            };
            assert_eq!(*shown, kept, "{} on {trace}", row[0]);
        }
    }
}

#[test]
fn each_key_that_a_document_explains_is_in_the_file_that_has_it() {
    let tables = [
        ("metal.md", "| Key | What it tells |", "crates/warmheap/examples/metal_report.rs"),
        ("benchmarks.md", "| Path | What happens |", "benches/gate/budget.json"),
        ("traces.md", "| Key | What it says |", "traces/qwen05b_short.json"),
    ];
    for (document, header, file) in tables {
        let text = fs::read_to_string(root().join("docs").join(document)).unwrap();
        let source = fs::read_to_string(root().join(file)).unwrap();
        let (_, table) = text.split_once(header).unwrap();
        let rows: Vec<&str> =
            table.lines().skip(1).take_while(|line| line.starts_with('|')).skip(1).collect();
        assert!(rows.len() > 2, "{document}: {rows:?}");
        for key in rows.iter().flat_map(|row| spans(row.split(" | ").next().unwrap())) {
            assert!(source.contains(&format!("\"{key}\":")), "{document}: {file} has no {key}");
        }
    }
}

#[test]
fn compatibility_places_every_setting_and_statistic_of_the_guide() {
    let page = fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let guide = fs::read_to_string(root().join("crates/warmheap-python/tests/data/guide.md")).unwrap();
    let placed: BTreeSet<&str> = spans(&page).flat_map(|span| words(span, "")).collect();
    let statistics = words(&guide, ".").filter_map(|word| word.strip_prefix("stats."));
    let samples = guide.split("```yaml").skip(1).map(|rest| rest.split("```").next().unwrap());
    let keys = samples.flat_map(str::lines).filter_map(|line| {
        let (key, _) = line.trim().split_once(':')?;
        key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_').then_some(key)
    });
    let used: BTreeSet<&str> = statistics.chain(keys).collect();
    assert!(used.len() > 25, "{used:?}");
    // The formula is written as a setting in one sample.
    let missing: Vec<_> =
        used.iter().filter(|name| !placed.contains(*name) && **name != "model_size_mb").collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_public_module_of_the_library_opens_with_an_example() {
    let source = root().join("crates/warmheap/src");
    let mut opened = 0;
    for (file, folder) in [("lib.rs", ""), ("device/mod.rs", "device")] {
        let text = fs::read_to_string(source.join(file)).unwrap();
        let modules = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        for module in modules {
            let places = [format!("{module}.rs"), format!("{module}/mod.rs")]
                .map(|name| source.join(folder).join(name));
            let place = places.iter().find(|place| place.exists()).unwrap();
            let opening = fs::read_to_string(place).unwrap();
            let example = opening
                .lines()
                .take_while(|line| line.starts_with("//!"))
                .any(|line| line.starts_with("//! ```"));
            assert!(example, "{} opens without an example", place.display());
            opened += 1;
        }
    }
    assert!(opened > 8, "only {opened} modules were found");
}

/// Words that the glossary has others for, or that hide the subject of a sentence.
const AVOIDED: [&str; 9] =
    ["nobody", "anybody", "somebody", "whoever", "mutant", "mutants", "fake driver", "essay", "ladder"];

#[test]
fn texts_and_comments_name_their_subjects_in_the_glossarys_words() {
    let mut found = Vec::new();
    for path in all_files() {
        let mark = match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs" | "h" | "c" | "cpp") => "//",
            Some("sh" | "py" | "yml") => "#",
            Some("md") => "",
            _ => continue,
        };
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        // The changelog has the old names, the guide is not ours, and this file has the list.
        if ["CHANGELOG.md", "guide.md", "house-rules/tests/documents.rs"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap().to_lowercase();
        for (number, line) in text.lines().enumerate() {
            let Some((_, comment)) = line.split_once(mark) else { continue };
            let padded = format!(" {} ", words(comment, "").collect::<Vec<_>>().join(" "));
            let avoided = AVOIDED.iter().filter(|word| padded.contains(&format!(" {word} ")));
            found.extend(avoided.map(|word| format!("{name}:{}: {word}", number + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_scheduled_workflow_runs_every_step_of_the_long_checks() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let long = read(".ci/long");
    let order = long.split_once("order=(").unwrap().1.split_once(')').unwrap().0;
    let workflow = read(".github/workflows/long.yml");
    let matrix = workflow.split_once("step:\n").unwrap().1.split_once("steps:").unwrap().0;
    let matrix = matrix.lines().filter_map(|line| line.trim().strip_prefix("- "));
    assert_eq!(order.split_whitespace().collect::<Vec<_>>(), matrix.collect::<Vec<_>>());
    let defined = long.lines().filter(|line| line.trim_start().starts_with('[') && line.contains("]=\""));
    assert_eq!(order.split_whitespace().count(), defined.count(), "a step is not in the order");
}

//! The layout of every crate's source: no circles between siblings, small folders, small files, no type
//! spread over many files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use house_rules::{Source, circles};

/// The most files in one folder.
const FILES: usize = 14;
/// The most lines in one file.
const LINES: usize = 400;
/// The most files that implement one type's own methods.
const SPREAD: usize = 3;

/// Every crate of this repository, with its source.
fn crates() -> Vec<(String, Source)> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folders = std::fs::read_dir(repository.join("crates")).unwrap();
    let mut roots: Vec<PathBuf> = folders
        .flat_map(|folder| {
            ["lib.rs", "main.rs"].map(|root| folder.as_ref().unwrap().path().join("src").join(root))
        })
        .filter(|root| root.exists())
        .collect();
    roots.sort();
    assert!(roots.len() > 4, "the crates are not where they were: {roots:?}");
    roots.iter().map(|root| (root.display().to_string(), Source::read(root).unwrap())).collect()
}

#[test]
fn no_siblings_use_each_other_in_a_circle() {
    let mut found = Vec::new();
    for (_, source) in crates() {
        let edges = source.edges();
        found.extend(circles(&edges).iter().map(ToString::to_string));
    }
    assert!(found.is_empty(), "{} uses lie on circles:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_file_is_long() {
    let mut long = Vec::new();
    for (_, source) in crates() {
        let files = source.files.iter().filter(|file| file.lines > LINES);
        long.extend(files.map(|file| format!("{} {}", file.lines, file.path.display())));
    }
    assert!(long.is_empty(), "more than {LINES} lines:\n{}", long.join("\n"));
}

#[test]
fn no_folder_holds_many_files() {
    let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for (_, source) in crates() {
        for file in &source.files {
            *folders.entry(file.path.parent().unwrap().to_owned()).or_default() += 1;
        }
    }
    let full: Vec<_> = folders.iter().filter(|(_, files)| **files > FILES).collect();
    assert!(full.is_empty(), "more than {FILES} files: {full:?}");
}

#[test]
fn no_type_is_spread_over_many_files() {
    let mut spread = Vec::new();
    for (name, source) in crates() {
        for (kind, files) in source.files_by_type() {
            if files.len() > SPREAD {
                let files: Vec<_> = files.iter().map(|file| file.path.file_name().unwrap()).collect();
                spread.push(format!("{kind} of {name}: {files:?}"));
            }
        }
    }
    assert!(spread.is_empty(), "in more than {SPREAD} files:\n{}", spread.join("\n"));
}

#[test]
fn a_circle_of_imports_is_seen_and_so_is_one_of_methods() {
    for case in ["imports", "methods"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/examples/{case}/lib.rs"));
        let edges = Source::read(&root).unwrap().edges();
        let found: Vec<_> = circles(&edges).iter().map(|edge| (&*edge.from, &*edge.to)).collect();
        assert_eq!(found, [("one", "two"), ("two", "one")], "{case}");
    }
}

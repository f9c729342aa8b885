//! The header in the repository is the one that the source makes. Run this test with `UPDATE_HEADER=1` to
//! renew it.

use std::path::Path;

#[test]
fn header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::generate_with_config(root, config).unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let made = String::from_utf8(made).unwrap();

    let path = root.join("include/warmheap.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "include/warmheap.h is not current; run with UPDATE_HEADER=1");
}

/// Returns the comment above the line with `item`, as one line.
fn comment(source: &str, item: &str, mark: &str) -> String {
    let (before, _) = source.split_once(item).unwrap_or_else(|| panic!("there is no `{item}`"));
    let lines = before.lines().rev().skip(1).map(str::trim);
    let mut words: Vec<_> = lines.map_while(|line| line.strip_prefix(mark)).map(str::trim).collect();
    words.reverse();
    words.join(" ")
}

/// Cbindgen needs the struct written out, so its comments are copies.
#[test]
fn every_statistic_has_its_field_and_the_librarys_description() {
    let header = include_str!("../include/warmheap.h");
    for figure in warmheap::Statistics::figures() {
        let described = comment(header, &format!(" {};", figure.name), "// ");
        assert_eq!(described, figure.help.trim(), "{}", figure.name);
    }
    let declared = include_str!("../../warmheap/src/stats/slow_path.rs");
    for (stage, _) in warmheap::Statistics::default().slow_path.stages() {
        let described = comment(header, &format!(" {stage};"), "// ");
        assert_eq!(described, comment(declared, &format!(" {stage}: Stage,"), "/// "), "{stage}");
    }
}

#[test]
fn every_function_that_the_documents_name_is_in_the_header() {
    let header = include_str!("../include/warmheap.h");
    let documents = [include_str!("../../../docs/pytorch.md"), include_str!("../../../docs/c.md")];
    let names = documents
        .iter()
        .flat_map(|text| text.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
    let functions: Vec<_> =
        names.filter(|name| name.starts_with("wh_") || name.starts_with("warmheap_")).collect();
    assert!(functions.len() > 10, "{functions:?}");
    for name in functions.into_iter().filter(|name| *name != "warmheap_c") {
        assert!(header.contains(name), "the header has no {name}");
    }
}

//! The header in the repository is the one the source makes. To renew it, run this test with
//! `UPDATE_HEADER=1`.

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

/// Cbindgen reads the struct as it is written, so it is written by hand; nothing may be left out.
#[test]
fn every_statistic_has_its_field() {
    let header = include_str!("../include/warmheap.h");
    let all: serde_json::Value = serde_json::from_str(&warmheap::Statistics::default().to_json()).unwrap();
    for name in all.as_object().unwrap().keys() {
        assert!(header.contains(&format!(" {name};")), "wh_statistics has no {name}");
    }
}

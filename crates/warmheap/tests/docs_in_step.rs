//! The documents name every key, variable, default, statistic and metric there is, and no key or
//! statistic that there is not.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use warmheap::PoolConfig;
use warmheap::config::{RESERVED_VARIABLES, keys};

fn document(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    fs::read_to_string(path.join(name)).unwrap()
}

/// The cells of every table row whose first cell is one name in code style.
fn rows(document: &str) -> Vec<Vec<String>> {
    document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn first_cells(rows: &[Vec<String>]) -> BTreeSet<&str> {
    rows.iter().map(|row| row[0].trim_matches('`')).collect()
}

#[test]
fn configuration_lists_every_key_with_its_default_range_and_variable() {
    let text = document("configuration.md");
    let rows = rows(&text);
    let names: BTreeSet<_> = keys().iter().map(|key| key.name()).collect();
    let reserved: BTreeSet<_> = RESERVED_VARIABLES.into();
    let listed = first_cells(&rows);
    assert_eq!(listed, &names | &reserved);

    let defaults = PoolConfig::default();
    for key in keys() {
        let row = rows.iter().find(|row| row[0] == format!("`{}`", key.name())).unwrap();
        assert_eq!(row[1], format!("`{}`", defaults.get(key.name()).unwrap()));
        assert_eq!(row[2], key.allowed());
        assert_eq!(row[3], format!("`{}`", key.variable()));
        assert!(text.contains(&format!("### `{}`", key.name())), "a section on {}", key.name());
    }
}

#[cfg(feature = "serde")]
#[test]
fn statistics_lists_every_figure_and_metric() {
    let text = document("statistics.md");
    let rows = rows(&text);
    let listed = first_cells(&rows);
    let statistics = warmheap::Statistics::default();
    let json: serde_json::Value = serde_json::from_str(&statistics.to_json()).unwrap();
    let figures: BTreeSet<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(listed, figures);

    let metrics: BTreeSet<_> = statistics
        .to_prometheus("")
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| format!("`{}`", line.split(' ').next().unwrap()))
        .collect();
    let named: BTreeSet<_> = rows.iter().map(|row| row.last().unwrap().clone()).collect();
    assert_eq!(named, metrics);
}

//! The settings of the library under PyTorch, on the double of the driver: one setting of a file changes that
//! setting and nothing else.
#![cfg(target_os = "linux")]

mod support;

use std::ptr;
use std::time::{Duration, Instant};

use cuda_double::Double;
use warmheap_c::{warmheap_malloc, warmheap_statistics_json};

use support::in_child;

/// Allocates with a configuration file and returns the statistics as JSON.
fn statistics_with(settings: &str) -> serde_json::Value {
    let path = std::env::temp_dir().join(format!("warmheap-torch-{}.yaml", std::process::id()));
    std::fs::write(&path, settings).unwrap();
    // SAFETY: this child has one thread.
    unsafe { std::env::set_var("WARMHEAP_CONFIG", &path) };
    let address = warmheap_malloc(1 << 20, 0, ptr::null_mut());
    std::fs::remove_file(&path).unwrap();
    assert!(!address.is_null());
    let mut text = vec![0_u8; 1 << 16];
    // SAFETY: the text has that capacity.
    let length = unsafe { warmheap_statistics_json(text.as_mut_ptr().cast(), text.len()) };
    serde_json::from_slice(&text[..length - 1]).unwrap()
}

/// Returns the first figure of this name, at any depth.
fn figure(value: &serde_json::Value, name: &str) -> Option<f64> {
    match value {
        serde_json::Value::Object(fields) => fields
            .get(name)
            .and_then(serde_json::Value::as_f64)
            .or_else(|| fields.values().find_map(|value| figure(value, name))),
        serde_json::Value::Array(items) => items.iter().find_map(|item| figure(item, name)),
        _ => None,
    }
}

#[test]
fn one_setting_of_the_file_never_changes_how_heaps_are_sized() {
    let _double = Double::install();
    for settings in ["trim_after_ms: 60000", "track_statistics: true", "limits: {hard_mb: 512}"] {
        in_child(|| {
            let statistics = statistics_with(settings);
            let reserved = figure(&statistics, "reserved_bytes").unwrap();
            assert!((1.0..256e6).contains(&reserved), "{settings}: {reserved}");
        });
    }
    in_child(|| {
        let reserved = figure(&statistics_with("num_heaps: 2"), "reserved_bytes").unwrap();
        assert!(reserved >= 512e6, "{reserved}");
    });
}

#[test]
fn statistics_are_written_again_after_a_write_that_failed() {
    let _double = Double::install();
    let folder = std::env::temp_dir().join(format!("warmheap-torch-stats-{}", std::process::id()));
    let path = folder.join("stats.json");
    in_child(|| {
        // SAFETY: this child has one thread.
        unsafe { std::env::set_var("WARMHEAP_STATS", &path) };
        assert!(!warmheap_malloc(1 << 20, 0, ptr::null_mut()).is_null());
        std::thread::sleep(Duration::from_millis(200));
        std::fs::create_dir(&folder).unwrap();
        let begun = Instant::now();
        while !path.exists() {
            assert!(begun.elapsed() < Duration::from_secs(8), "the file is not written again");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

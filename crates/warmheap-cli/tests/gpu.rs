//! The command on a GPU. The double takes the driver's place, and each call has a process of its own.

use assert_cmd::Command;
use serde_json::Value;

const TRACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../traces/qwen05b_short.csv.zst");

fn warmheap(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("warmheap").unwrap();
    command.env("LD_PRELOAD", cuda_double::library()).args(arguments);
    command
}

fn json(arguments: &[&str]) -> Value {
    let output = warmheap(arguments).arg("--json").assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

#[test]
fn devices_lists_every_gpu() {
    let devices = json(&["devices"]);
    let names: Vec<_> = devices.as_array().unwrap().iter().filter_map(|d| d["name"].as_str()).collect();
    assert!(names.contains(&"cuda:0") && names.contains(&"cuda:1"), "{names:?}");
}

#[test]
fn a_trace_replays_on_a_gpu_without_fallback_and_close_to_its_live_memory() {
    let report = json(&["replay", TRACE, "--device", "cuda", "--rounds", "1"]);
    assert_eq!(report["failed"], 0);
    assert_eq!(report["fallback_allocations"], 0);
    // Live memory still grows then, and so does held memory: a few calls for 68,000 operations.
    assert!(report["device_calls"]["second_half"].as_u64().unwrap() <= 16);
    let bytes = |key: &str| report[key].as_f64().unwrap();
    assert!(bytes("peak_reserved_bytes") < 1.08 * bytes("peak_live_bytes"));
}

#[test]
fn a_first_batch_finds_its_memory_without_pages_moved_under_it() {
    let batch = concat!(env!("CARGO_MANIFEST_DIR"), "/../../traces/qwen7b_batch.csv.zst");
    let report = json(&["replay", batch, "--device", "cuda", "--rounds", "1"]);
    let calls = |part: &str| report["device_calls"][part].as_u64().unwrap();
    // The weights and a batch take this much, and nothing else does. Page migration waits for the GPU.
    assert!(calls("setup") + calls("first_half") <= 165, "{report}");
    assert_eq!(calls("second_half"), 0, "{report}");
    let bytes = |key: &str| report[key].as_f64().unwrap();
    assert!(bytes("peak_reserved_bytes") < 1.016 * bytes("peak_live_bytes"), "{report}");
}

#[test]
fn both_allocators_of_the_driver_take_part() {
    let bench = |device| json(&["bench", "--trace", TRACE, "--device", device, "--rounds", "1"]);
    let (plain, ordered) = (bench("cuda:0"), bench("cuda:1,ordered"));
    assert!(plain["baseline"]["ns_per_op"].as_f64() > Some(0.0), "{plain}");
    assert!(plain["driver_pool"]["ns_per_op"].as_f64() > Some(0.0), "{plain}");
    assert!(ordered["driver_pool"].is_null(), "the baseline is that pool already");
    assert!(ordered["device"].as_str().unwrap().contains("cuda:1"));

    let assert =
        warmheap(&["bench", "--trace", TRACE, "--device", "cuda", "--rounds", "1"]).assert().success();
    let text = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(text.contains("Baseline ┆ cudaMallocAsync ┆"), "{text}");
}

#[test]
fn a_missing_gpu_is_said_to_be_missing() {
    let assert = warmheap(&["replay", TRACE, "--device", "cuda:7"]).assert().code(1);
    let text = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(text.contains("device 7") && text.contains("shows 2"), "{text}");
}

#[test]
fn watch_shows_what_a_program_wrote() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let written = serde_json::json!({"pid": 42, "devices": [{
        "device": "cuda:0 GPU", "reserved_bytes": 3 << 20, "peak_reserved_bytes": 5 << 20,
        "streams": [{"stream": "0x0", "reserved_bytes": 3 << 20, "peak_reserved_bytes": 5 << 20,
            "statistics": warmheap::Statistics::default()}],
    }]});
    std::fs::write(path, written.to_string()).unwrap();
    let shown = json(&["watch", path, "--once"]);
    for key in ["pid", "devices"] {
        assert_eq!(shown[key], written[key]);
    }
    let assert = warmheap(&["watch", path, "--once"]).assert().success();
    let text = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert!(text.contains("process 42") && text.contains(" 5.0 "), "{text}");
    assert!(assert.get_output().stderr.is_empty());

    // The program has ended. The command shows its last figures, and says that they are the last.
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    let assert = warmheap(&["watch", path]).assert().success();
    let (text, note) = (&assert.get_output().stdout, &assert.get_output().stderr);
    assert!(String::from_utf8_lossy(text).contains("process 42"));
    assert!(String::from_utf8_lossy(note).contains("process 42 has stopped writing"));

    std::fs::write(path, "no json").unwrap();
    warmheap(&["watch", path, "--once"]).assert().code(1);
}

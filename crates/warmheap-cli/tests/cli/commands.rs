//! Each command, run as it is, prints what it found.

use crate::run::{Folder, small_trace, warmheap};
use serde_json::json;

#[test]
fn replay_reports_every_figure() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let report = warmheap(&["replay", &trace, "--threads", "2", "--verify", "--json"]).json();
    assert_eq!(report["trace"], json!(trace));
    assert_eq!((&report["device"], &report["threads"]), (&json!("sim"), &json!(2)));
    assert_eq!((&report["events"], &report["allocations"]), (&json!(2 * 1180), &json!(2 * 600)));
    assert_eq!((&report["failed"], &report["verified"]), (&json!(0), &json!(true)));
    assert_eq!((&report["hit_rate"], &report["fallback_allocations"]), (&json!(1.0), &json!(0)));
    for figure in
        ["ns_per_op", "peak_live_bytes", "peak_reserved_bytes", "end_live_bytes", "end_reserved_bytes"]
    {
        assert!(report[figure].as_f64().unwrap() > 0.0, "{figure}");
    }
    assert!(report["settled_live_bytes"].as_u64().unwrap() > 0);
    assert!(report["settled_reserved_bytes"].as_u64() >= report["settled_live_bytes"].as_u64());
    for (group, names) in [
        ("alloc_ns", ["p50", "p99", "p999"]),
        ("free_ns", ["p50", "p99", "p999"]),
        ("device_calls", ["setup", "first_half", "second_half"]),
    ] {
        for name in names {
            assert!(report[group][name].is_number(), "{group}.{name}");
        }
    }
}

#[test]
fn replay_serves_from_every_device_and_configuration() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let guide = folder.file(
        "guide.yaml",
        "metal_optimizations:\n  memory_pool:\n    heap_size_mb: 0.5\n    num_heaps: 1\n    log_exhaustion: false\n",
    );
    for args in [
        &["--device", "host", "--verify"][..],
        &["--device", "host:budget=64", "--verify"],
        &["--device", "sim:discrete", "--verify"],
        &["--device", "sim", "--remote-free", "--verify"],
        &["--device", "host", "--config", &guide, "--verify"],
    ] {
        let run = warmheap(&[&["replay", trace.as_str(), "--rounds", "1", "--json"], args].concat());
        let report = run.json();
        assert_eq!(report["failed"], json!(0), "{args:?}");
        let falls_back = args.contains(&guide.as_str());
        assert_eq!(report["fallback_allocations"] != json!(0), falls_back, "{args:?}");
    }
    let table = warmheap(&["replay", &trace, "--rounds", "1"]).stdout;
    assert!(table.contains("Time per operation") && table.contains("x live"), "{table}");
}

#[test]
fn the_environment_has_the_last_word_without_a_file_too() {
    let folder = Folder::new();
    let trace = folder.file("good.csv", small_trace());
    for command in [&["replay", &trace][..], &["bench", "--trace", &trace, "--rounds", "1"]] {
        let run = |value| {
            let mut process = assert_cmd::Command::cargo_bin("warmheap").unwrap();
            process.args(command).env("WARMHEAP_LIMITS_HARD_MB", value).output().unwrap()
        };
        assert_eq!(run("1024").status.code(), Some(0));
        let refused = run("some");
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("WARMHEAP_LIMITS_HARD_MB"));
    }
}

#[test]
fn lenient_replay_counts_what_it_skips() {
    let folder = Folder::new();
    let trace = folder.file("odd.csv", small_trace() + "0,9,free,0xffff,1,0\n0,9,allocate,0xfffe,0,0\n");
    assert_eq!(warmheap(&["replay", &trace]).code, 1);
    let run = warmheap(&["replay", &trace, "--lenient", "--rounds", "1"]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("2 impossible events skipped"), "{run:?}");
}

#[test]
fn soak_says_what_was_survived() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let args = ["soak", "--minutes", "0.02", "--trace", &trace, "--seed", "9", "--threads", "2"];
    let survived = warmheap(&[&args[..], &["--device", "sim", "host", "--json"]].concat()).json();
    assert_eq!((&survived["seed"], &survived["finding"]), (&json!(9), &json!(null)));
    assert_eq!(survived["devices"], json!(["sim", "host"]));
    assert_eq!(survived["heaps_made"], survived["heaps_destroyed"]);
    let figures = ["comparisons", "operations", "retired", "failures_injected", "queues_replaced", "trims"];
    for figure in figures.into_iter().chain(["movable", "compactions"]) {
        assert!(survived[figure].as_u64().unwrap() > 0, "{figure}: {survived}");
    }
    let run = warmheap(&args);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(run.stdout.contains("Nothing lost"), "{run:?}");
}

#[test]
fn bench_compares_with_the_device_itself() {
    let folder = Folder::new();
    let trace = folder.file("small.csv.any", small_trace());
    let output = folder.path("result.json").display().to_string();
    let run = warmheap(&["bench", "--trace", &trace, "--rounds", "2", "--tokens", "10", "--output", &output]);
    assert_eq!(run.code, 0, "{run:?}");
    for words in [
        "Allocation overhead per token",
        "Start-up",
        "Throughput, modelled",
        "Hit rate: Excellent",
        "maps its pages and touches every one",
    ] {
        assert!(run.stdout.contains(words), "no `{words}` in {run:?}");
    }
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
    assert_eq!(result["hit_rate"], json!(1.0));
    assert_eq!(result["device_calls_after_startup"], json!(0));
    assert!(result["reduction"].as_f64().unwrap() > 0.5, "{result}");
    let per_token = |side: &str| result[side]["ms_per_token"].as_f64().unwrap();
    assert!(per_token("pool") < per_token("baseline"));
    // The trace takes 600 ms for 10 tokens.
    assert!((result["compute_ms_per_token"].as_f64().unwrap() - 59.9).abs() < 0.1);

    let run = warmheap(&["compare", &output, &output]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("No figure is worse"), "{run:?}");
}

#[test]
fn compare_sets_a_pool_against_none() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let off = folder.file("off.yaml", "memory_pool:\n  enabled: false\n");
    let result = |name: &str, config: &[&str]| {
        let output = folder.path(name).display().to_string();
        let args = ["bench", "--trace", &trace, "--rounds", "5", "--tokens", "10", "--output", &output];
        assert_eq!(warmheap(&[&args[..], config].concat()).code, 0);
        output
    };
    let (baseline, pool) = (result("baseline.json", &["--config", &off]), result("pool.json", &[]));
    let compared = warmheap(&["compare", &baseline, &pool, "--json"]);
    let compared: serde_json::Value = serde_json::from_str(&compared.stdout).unwrap();
    let change = |name: &str| {
        let lines = compared["lines"].as_array().unwrap();
        lines.iter().find(|line| line["name"] == name).unwrap()["change"].as_f64().unwrap()
    };
    assert!(change("Allocation per token") < -50.0, "{compared}");
    assert!(change("Throughput (modelled)") > 0.0, "{compared}");
}

#[test]
fn bench_without_tokens_models_no_throughput() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let args = ["bench", "--device", "sim", "--trace", &trace, "--rounds", "1"];
    let result = warmheap(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(result["pool"]["tokens_per_second"], json!(null));
    assert!(warmheap(&args).stdout.contains("--tokens N"));
    // If there is a sidecar, it has the figure.
    folder.file("small.json", r#"{"decode_steps": 5, "serving_from_event": 600}"#);
    let result = warmheap(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(result["tokens"], json!(5));
    assert!(result["pool"]["tokens_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_bundled_trace_never_leaves_the_recommended_pool() {
    let result = warmheap(&["bench", "--device", "sim", "--rounds", "1", "--json"]).json();
    assert_eq!((&result["events"], &result["tokens"]), (&json!(136_062), &json!(64)));
    assert_eq!(result["hit_rate"], json!(1.0));
    assert_eq!(result["device_calls_after_startup"], json!(0));
    assert_eq!(result["statistics"]["total_allocations"], json!(68_302));
    assert_eq!(result["findings"][0]["severity"].as_str().unwrap_or("info"), "info");
}

#[test]
fn compare_exits_1_on_a_regression() {
    let folder = Folder::new();
    let result = |name: &str, ns: f64, rate: f64| {
        let version = json!({ "command": "replay", "schema_version": 1, "ns_per_op": ns, "hit_rate": rate });
        folder.file(name, version.to_string())
    };
    let (before, after) = (result("a.json", 10.0, 1.0), result("b.json", 11.0, 0.99));
    let run = warmheap(&["compare", &before, &after]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("+10.0 % worse"), "{run:?}");
    let run = warmheap(&["compare", &before, &after, "--threshold", "10", "--json"]);
    assert_eq!(run.json()["regressions"], json!(0));
    assert_eq!(warmheap(&["compare", &after, &before]).code, 0);
}

#[test]
fn check_judges_and_recommends() {
    let folder = Folder::new();
    let config = folder.file("pool.yaml", "metal_optimizations:\n  memory_pool:\n    num_heaps: 4\n");
    let run = warmheap(&["check", &config, "--ram-gb", "32", "--model-mb", "8192"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("Warm-up Size Larger Than a Heap (warmup_size_mb 512"), "{run:?}");
    assert!(run.stdout.contains("heap_size_mb = (8192 / 4) x 1.5 = 3072"), "{run:?}");
    let run = warmheap(&["check", &config, "--json"]);
    assert_eq!(run.json()["num_heaps"], json!(4));
    // The recommendation is itself a configuration.
    let recommended = run.json()["recommendation"]["config"].as_str().unwrap().to_owned();
    let recommended = folder.file("recommended.yaml", recommended);
    assert_eq!(warmheap(&["check", &recommended]).code, 0);
    let large = folder.file("large.yaml", "memory_pool:\n  heap_size_mb: 16384\n  num_heaps: 8\n");
    assert_eq!(warmheap(&["check", &large, "--ram-gb", "16"]).code, 1);
}

#[test]
fn devices_lists_what_is_here_and_why_the_rest_is_not() {
    let list = warmheap(&["devices", "--json"]).json();
    let device = |name: &str| {
        let all = list.as_array().unwrap();
        all.iter().find(|entry| entry["name"] == name).unwrap().clone()
    };
    assert_eq!(device("host")["available"], json!(true));
    assert!(device("host")["alignment"].as_u64().unwrap() > 0);
    assert_eq!(device("sim")["grows_in_place"], json!(true));
    assert_eq!(device("sim:discrete")["grows_in_place"], json!(false));
    if cfg!(not(target_vendor = "apple")) {
        assert_eq!(device("metal")["available"], json!(false));
        assert!(!device("metal")["description"].as_str().unwrap().is_empty());
    }
    assert!(warmheap(&["devices"]).stdout.contains("metal: "));
}

#[test]
fn help_and_version_end_well() {
    for args in [&["--help"][..], &["--version"], &["replay", "--help"]] {
        let run = warmheap(args);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{args:?}");
    }
}

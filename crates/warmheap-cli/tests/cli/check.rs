//! `check` tells the truth: what it calls valid starts, what has no effect is named, and what a mode ignores is not
//! counted. `devices` tells what bounds the memory.

use serde_json::{Value, json};

use crate::run::{Folder, Run, small_trace, warmheap};

fn check(text: &str, more: &[&str]) -> Run {
    let folder = Folder::new();
    let file = folder.file("pool.yaml", text);
    warmheap(&[&["check", file.as_str()], more].concat())
}

fn checked(text: &str) -> Value {
    let run = check(text, &["--json"]);
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"))
}

/// The part of the output before the recommendation.
fn judgement(text: &str, more: &[&str]) -> String {
    let run = check(text, more);
    run.stdout.split("\nRecommended:").next().unwrap().to_owned()
}

#[test]
fn what_check_calls_valid_starts_and_the_rest_does_not() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    for (i, (settings, starts)) in [
        ("num_heaps: 2", true),
        ("limits: {hard_mb: 100}", false),
        ("limits: {hard_mb: 1024}", true),
        ("limits: {hard_objects: 3}", false),
        ("num_heaps: 64\nheap_size_mb: 524288", false),
        ("num_heaps: 8\nheap_size_mb: 16384\nwarmup_sizes: [16384]", false),
        ("heap_sizing: elastic\nlimits: {hard_mb: 100}", true),
        ("enabled: false\nheap_size_mb: 524288", true),
        ("limits: {soft_mb: 100}", true),
        ("heap_size_mb: 0.5", true),
    ]
    .into_iter()
    .enumerate()
    {
        let file = folder.file(&format!("{i}.yaml"), settings);
        let check = warmheap(&["check", &file]);
        let replay = ["replay", &trace, "--device", "host", "--rounds", "1", "--config", &file];
        let replay = warmheap(&replay);
        assert_eq!(check.stdout.contains("cannot start"), !starts, "{check:?}");
        assert_eq!(check.code == 0, starts, "{check:?}");
        assert_eq!(replay.code == 0, starts, "{replay:?}");
        if !starts {
            // The settings to paste do start, and so do those that are recommended.
            let output: Value = serde_json::from_str(&warmheap(&["check", &file, "--json"]).stdout).unwrap();
            for text in [&output["change"], &output["recommendation"]["config"]] {
                let pasted = folder.file("pasted.yaml", text.as_str().unwrap());
                let run = warmheap(&["check", &pasted]);
                assert_eq!(run.code, 0, "{run:?}");
            }
        }
    }
}

#[test]
fn a_device_and_a_machine_other_than_this_one_can_be_named() {
    let on = |device| check("num_heaps: 4\nwarmup_sizes: []", &["--device", device]);
    assert!(on("sim:budget=600").stdout.contains("2 heaps of 128 MiB would fit"));
    assert_eq!((on("sim:budget=600").code, on("sim:budget=2000").code), (1, 0));
    let ram = |gb| check("heap_size_mb: 4096\nnum_heaps: 6", &["--ram-gb", gb]);
    assert_eq!((ram("8").code, ram("64").code), (1, 0));
    let here = checked("num_heaps: 3");
    assert!(here["ram_gb"].as_u64().unwrap() > 0, "it looks at this machine by itself: {here}");
}

#[test]
fn what_a_mode_ignores_is_not_counted() {
    let elastic = judgement("heap_sizing: elastic\nheap_size_mb: 512", &[]);
    assert!(elastic.contains("the pool sizes its heaps") && !elastic.contains("2048 MiB"), "{elastic}");
    assert!(elastic.contains("`heap_size_mb` has no effect"), "{elastic}");
    let whole = check("heap_sizing: elastic", &[]).stdout;
    assert!(whole.contains("heap_sizing: elastic") && !whole.contains("heap_sizing: fixed"), "{whole}");
    let off = judgement("metal_optimizations: {enabled: false}", &[]);
    assert!(off.contains("the pool is off") && !off.contains("MiB in all"), "{off}");
    let half = judgement("heap_size_mb: 0.5\nnum_heaps: 3\nwarmup_sizes: []", &[]);
    assert!(half.contains("3 heaps, 1.5 MiB in all"), "{half}");
    let figures = |text: &str| {
        let output = checked(text);
        (output["num_heaps"].clone(), output["capacity_mb"].as_f64().unwrap())
    };
    assert_eq!(figures("heap_sizing: elastic"), (json!(0), 0.0));
    assert_eq!(figures("enabled: false"), (json!(0), 0.0));
    assert_eq!(figures("heap_size_mb: 0.5\nnum_heaps: 3"), (json!(3), 1.5));
}

#[test]
fn what_is_probably_not_meant_is_named_and_lowers_the_grade() {
    for (text, words) in [
        ("max_heaps: 16", "`max_heaps` has no effect: `dynamic_growth` is off"),
        ("trim_after_ms: 200", "`trim_after_ms` has no effect: fixed heaps stay"),
        ("compaction: {threshold: 0.3}", "`compaction.threshold` has no effect"),
        ("limits: {soft_mb: 100}", "the limit is crossed from the start"),
        ("limits: {device_budget: true}", "the device names no budget"),
        ("warmup_sizes: [200, 200]", "they take 400 MiB side by side"),
    ] {
        let printed = judgement(text, &[]);
        assert!(printed.contains(words) && printed.contains(": Fair: "), "{printed}");
        assert_eq!(check(text, &[]).code, 0);
    }
    let discrete = ["--device", "sim:discrete"];
    let printed = judgement("heap_sizing: elastic\nthread_heaps: false", &discrete);
    assert!(printed.contains("cannot grow in place"), "{printed}");
    let good = judgement("num_heaps: 3\nwarmup_sizes: []", &["--ram-gb", "24"]);
    assert!(good.contains(": Excellent: ✅") && good.contains("Nothing to change."), "{good}");
}

#[test]
fn findings_agree_and_come_as_one_text_to_paste() {
    let folder = Folder::new();
    let texts = [
        "warmup_sizes: [512, 1024, 200, 100]",
        "limits: {hard_mb: 100}",
        "heap_size_mb: 100000\nnum_heaps: 9\nwarmup_sizes: [64, 90000]",
        "heap_size_mb: 16384\nnum_heaps: 1",
    ];
    for (i, text) in texts.into_iter().enumerate() {
        let file = folder.file(&format!("{i}.yaml"), text);
        let machine = ["--ram-gb", "16", "--model-mb", "500", "--json"];
        let run = warmheap(&[&["check", file.as_str()], &machine[..]].concat());
        let output: Value = serde_json::from_str(&run.stdout).unwrap();
        let change = output["change"].as_str().unwrap();
        assert!(change.starts_with("metal_optimizations:\n  memory_pool:\n") && change.contains("# was "));
        for finding in output["findings"].as_array().unwrap() {
            for change_of_one in finding["change"].as_array().unwrap() {
                let line = format!("{}: {}", change_of_one["key"].as_str().unwrap(), change_of_one["to"]);
                let line = line.replace(',', ", ");
                assert!(finding["severity"] == "info" || change.contains(&line), "{line} is not in {change}");
            }
        }
        // What the file sets beside the change stays, so the rest is taken from it.
        let merged = format!("{change}{}", rest(text, change));
        let merged = folder.file("merged.yaml", merged);
        let again = warmheap(&["check", &merged, "--ram-gb", "16"]);
        assert!(again.code == 0 && !again.stdout.contains("To change"), "{again:?}");
        let printed = warmheap(&["check", &file]).stdout;
        assert!(!printed.contains("\n✅"), "no tick before what is to be changed: {printed}");
    }
}

/// The lines of a file whose keys a change does not set, indented to follow it.
fn rest(text: &str, change: &str) -> String {
    let lines = text.lines().filter(|line| !change.contains(line.split(':').next().unwrap()));
    lines.map(|line| format!("    {line}\n")).collect()
}

#[test]
fn a_replay_on_too_small_a_pool_gives_advice_that_helps_when_pasted() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let settings = "heap_size_mb: 0.125\nnum_heaps: 2\nwarmup_sizes: []\nlog_exhaustion: false\n";
    let replay = |text: &str| {
        let file = folder.file("pool.yaml", text);
        let args = ["replay", trace.as_str(), "--rounds", "1", "--config", &file];
        (warmheap(&args).stdout, warmheap(&[&args[..], &["--json"]].concat()).json())
    };
    let (printed, before) = replay(settings);
    assert!(before["hit_rate"].as_f64().unwrap() < 0.5, "{before}");
    assert!(printed.contains("Hit rate: Poor") && printed.contains("High Fallback Rate"), "{printed}");
    let (_, pasted) = printed.split_once("To change, all together:\n\n").unwrap();
    assert!(printed.contains("Cold Start") && pasted.contains("warmup_sizes: ["), "{printed}");
    assert_eq!(pasted.trim(), before["change"].as_str().unwrap().trim());
    let (printed, after) = replay(&format!("{pasted}{}", rest(settings, pasted)));
    assert!(after["hit_rate"].as_f64().unwrap() > 0.9, "{after}");
    assert!(!printed.contains("High Fallback Rate") && !printed.contains("Cold Start"), "{printed}");
}

#[test]
fn the_usual_heaps_of_a_models_class_are_shown() {
    for (model, words) in [
        ("1000", "heaps of 128 to 256 MiB"),
        ("2500", "heaps of 256 to 512 MiB"),
        ("5000", "heaps of 512 to 1024 MiB"),
        ("8192", "heaps of 1024 to 2048 MiB"),
    ] {
        let run = check("num_heaps: 4", &["--model-mb", model, "--ram-gb", "64"]);
        assert!(run.stdout.contains(words), "{run:?}");
    }
}

#[test]
fn devices_lists_the_bounds_of_this_process() {
    let list = warmheap(&["devices", "--json"]).json();
    let bounds = list[0]["bounds"].as_array().unwrap();
    let names: Vec<_> = bounds.iter().map(|bound| bound["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["machine", "control group", "RLIMIT_DATA", "RLIMIT_AS"]);
    let printed = warmheap(&["devices"]).stdout;
    assert!(printed.lines().all(|line| !line.contains('│') || line.chars().count() <= 80), "{printed}");
    if cfg!(target_os = "linux") {
        let program = assert_cmd::cargo::cargo_bin("warmheap");
        let script = format!("ulimit -v 4000000; {} devices", program.display());
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let line = printed.lines().find(|line| line.contains("RLIMIT_AS")).unwrap();
        assert!(line.contains("of 3906.2 MiB free, which binds"), "{printed}");
    }
}

#[test]
fn another_machine_is_named_as_what_was_looked_at() {
    let folder = Folder::new();
    let file = folder.file("pool.yaml", "heap_size_mb: 2560\nnum_heaps: 4\nwarmup_sizes: []\n");
    let check =
        |device: &str, ram: &str| warmheap(&["check", &file, "--ram-gb", ram, "--device", device, "--json"]);
    for device in ["host", "sim", "sim:discrete"] {
        let run = check(device, "1");
        let result: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((&result["device"], &result["starts"]), (&device.into(), &false.into()), "{run:?}");
        assert!(result["startup_ms"].is_null(), "another machine's time is not known here");
    }
    // No such device can be looked at here.
    let run = check("cuda:77", "64");
    assert!(run.stderr.contains("checked on a simulated device, because"), "{run:?}");
    assert_eq!(run.json()["device"], "sim:budget=65536");
}

#[test]
fn check_forecasts_how_long_a_start_takes() {
    let folder = Folder::new();
    // Creating a heap and warming it are two calls of 20 ms.
    let device = "sim:latency=20000";
    let file = folder.file("pool.yaml", "heap_size_mb: 8\nnum_heaps: 3\nwarmup_sizes: [2, 6, 512]\n");
    let result = warmheap(&["check", &file, "--device", device, "--json"]).json();
    assert_eq!(result["warmed_mb"].as_f64(), Some(24.0));
    let trace = folder.file("one.csv", "Thread,Time,Action,Pointer,Size,Stream\n0,0,allocate,1,64,0\n");
    let bench =
        ["bench", "--trace", &trace, "--config", &file, "--device", device, "--rounds", "1", "--json"];
    let (forecast, took) = (&result["startup_ms"], &warmheap(&bench).json()["startup_ms"]);
    let share = forecast.as_f64().unwrap() / took.as_f64().unwrap();
    assert!((0.5..2.0).contains(&share), "{forecast} for {took}");
    let run = warmheap(&["check", &file, "--device", device]);
    assert!(run.stdout.contains("ms to warm 24 MiB"), "{run:?}");
    // Nothing is warmed here.
    let none = folder.file("none.yaml", "heap_size_mb: 8\nwarmup_sizes: []\n");
    assert!(warmheap(&["check", &none, "--json"]).json()["startup_ms"].is_null());
}

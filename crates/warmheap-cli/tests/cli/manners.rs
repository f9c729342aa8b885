//! What shells, scripts and other programs rely on: completions, manual pages, input by pipe, errors as JSON, and
//! exit codes where standard error cannot be written.

use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;

use crate::run::{Folder, small_trace, warmheap};

#[test]
fn every_shell_has_completions_for_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = warmheap(&["completions", shell]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{shell}");
        for command in ["bench", "compare", "check", "replay", "soak", "watch", "devices"] {
            assert!(run.stdout.contains(command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn bash_accepts_its_completions() {
    let script = warmheap(&["completions", "bash"]).stdout;
    let words = "COMP_WORDS=(warmheap re) COMP_CWORD=1; _warmheap warmheap re warmheap; echo ${COMPREPLY[@]}";
    let output =
        std::process::Command::new("bash").args(["-c", &format!("{script}\n{words}")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "replay", "{output:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = Folder::new();
    let run = warmheap(&["man", &folder.path("").display().to_string()]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""));
    for page in ["warmheap.1", "warmheap-replay.1", "warmheap-soak.1"] {
        let text = std::fs::read_to_string(folder.path(page)).unwrap();
        assert!(text.contains(".SH OPTIONS"), "{page}");
    }
    let run = warmheap(&["man", "/no/such/folder"]);
    assert!(run.code == 1 && run.stderr.contains("/no/such/folder"), "{run:?}");
}

#[test]
fn a_configuration_may_come_by_a_pipe() {
    let check = |text: &str| {
        let mut command = Command::cargo_bin("warmheap").unwrap();
        let output = command.args(["check", "-"]).write_stdin(text).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, stdout, _) = check("memory_pool: {heap_size_mb: 64, num_heaps: 2}");
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("2 heaps, 128 MiB"), "{stdout}");
    let (code, stdout, _) = check("server: {port: 1}\nmemory_pool: {heap_size_mb: 64, num_heaps: 2}");
    assert!(code == Some(0) && stdout.contains("not Warmheap's: server"), "{stdout}");
    let (code, stdout, stderr) = check("memory_pool: {heap_size_mb: 0}");
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("heap_size_mb"), "{stderr}");
}

#[test]
fn logs_of_other_programs_are_read_as_they_are() {
    let folder = Folder::new();
    let lines = "\u{feff}Stream, Thread ,Time,Action,Tag,Pointer,Size\r\n\
                 0x0, 1 ,10:00:00:000001, allocate ,kv,32512,64\r\n\
                 0x0, 1 ,10:00:00:000002, allocate ,,(nil),0\r\n\
                 0x0, 2 ,10:00:00:000003, free ,kv,0X7F00,32\r\n\
                 0x0, 2 ,10:00:00:000004, free ,,(nil),0\r\n";
    let run = warmheap(&["replay", "--json", &folder.file("odd.csv", lines)]);
    assert_eq!(run.json()["allocations"], 1, "{run:?}");
    assert!(run.stderr.contains("1 frees name another size"), "{run:?}");
}

#[test]
fn errors_are_json_where_results_are() {
    for (arguments, command, kind, code) in [
        (&["--json", "check", "/no/such/file"][..], Some("check"), "failed", 1),
        (&["replay", "--json"], Some("replay"), "usage", 2),
        (&["--json", "no-such-command"], None, "usage", 2),
    ] {
        let run = warmheap(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{run:?}");
        let object = serde_json::from_str::<serde_json::Value>(&run.stderr).unwrap();
        assert_eq!(object["command"].as_str(), command, "{object}");
        let error = &object["error"];
        assert_eq!((error["kind"].as_str(), error["exit_code"].as_i64()), (Some(kind), Some(code.into())));
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
}

#[test]
#[cfg(unix)]
fn an_interrupted_soak_says_what_it_has_seen() {
    let program = assert_cmd::cargo::cargo_bin("warmheap");
    let mut command = std::process::Command::new(program);
    command.args(["soak", "--minutes", "9", "--seed", "77"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(130), "{words}");
    assert!(words.contains("from seed 77") && words.contains("Nothing lost"), "{words}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_standard_error_changes_no_exit_code() {
    for (arguments, code) in
        [(&["check", "/no/such/file"][..], 1), (&["no-such-command"], 2), (&["-vvv", "devices"], 0)]
    {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let program = assert_cmd::cargo::cargo_bin("warmheap");
        let mut command = std::process::Command::new(program);
        let status = command.args(arguments).stderr(full).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_configuration_that_the_environment_names_is_used_where_the_command_line_names_none() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let named = folder.file("named.yaml", "heap_size_mb: 7\nnum_heaps: 3\nwarmup_sizes: []\n");
    let other = folder.file("other.yaml", "heap_size_mb: 9\nwarmup_sizes: []\n");
    let replay = ["replay", trace.as_str(), "--rounds", "1", "--json"];
    let bench = ["bench", "--trace", trace.as_str(), "--device", "sim", "--rounds", "1", "--json"];
    for arguments in [&replay[..], &bench] {
        let run = |file: &str, more: &[&str]| {
            let mut process = assert_cmd::Command::cargo_bin("warmheap").unwrap();
            process.args(arguments).args(more).env("WARMHEAP_CONFIG", file).output().unwrap()
        };
        let used = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
        assert!(used(run(&named, &[])).contains("heap_size_mb: 7"));
        assert!(used(run(&named, &["--config", &other])).contains("heap_size_mb: 9"));
        let missing = run("/nope.yaml", &[]);
        assert_eq!(missing.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&missing.stderr).contains("/nope.yaml"), "{missing:?}");
    }
}

#[test]
fn sizes_near_the_largest_are_refused_with_figures_and_break_no_promise() {
    let folder = Folder::new();
    let mut lines = String::from("Thread,Time,Action,Pointer,Size,Stream\n");
    for number in 1..6_u64 {
        lines += &format!("0,{number},allocate,{number},{},0\n", (1_u64 << 63) - number);
    }
    let trace = folder.file("large.csv", lines);
    let run = warmheap(&["soak", "--trace", &trace, "--minutes", "0.03", "--seed", "1"]);
    assert_eq!(run.code, 0, "{run:?}");
    for arguments in [&["replay", trace.as_str()][..], &["bench", "--device", "sim", "--trace", &trace]] {
        let run = warmheap(&[arguments, &["--rounds", "1"]].concat());
        assert_eq!(run.code, 1, "{run:?}");
        assert!(!run.stderr.contains("hard_mb allows"), "{run:?}");
        assert!(run.stderr.contains("more than the device allows"), "{run:?}");
    }
}

#[test]
fn tables_fit_80_columns_and_show_nothing_as_0_that_is_not() {
    let folder = Folder::new();
    let trace = folder.file(&format!("{}.csv", "long".repeat(30)), small_trace());
    let settings = folder.file("pool.yaml", "heap_size_mb: 64\nnum_heaps: 2\n");
    let result = folder.path("one.json").display().to_string();
    let bench = [
        "bench", "--trace", &trace, "--device", "sim", "--rounds", "2", "--tokens", "7", "--output", &result,
    ];
    let soak = [
        "soak",
        "--minutes",
        "0.01",
        "--trace",
        &trace,
        "--device",
        "sim",
        "sim:discrete,purgeable,budget=4096",
    ];
    for arguments in [
        &["replay", trace.as_str(), "--rounds", "2", "--threads", "2", "--remote-free"][..],
        &["check", &settings],
        &["devices"],
        &bench,
        &["compare", &result, &result],
        &soak,
    ] {
        let run = warmheap(arguments);
        assert_eq!(run.code, 0, "{run:?}");
        let rows = run.stdout.lines().filter(|line| line.starts_with(['│', '┌', '└', '╞', '├']));
        for row in rows {
            assert!(row.chars().count() <= 80, "{} columns in {}", row.chars().count(), run.stdout);
        }
    }
    // The smallest buffer there is.
    let tiny = folder.file("tiny.csv", "Thread,Time,Action,Pointer,Size,Stream\n0,0,allocate,0x1,1,0\n");
    let table = warmheap(&["replay", &tiny, "--rounds", "1"]).stdout;
    let live = table.lines().find(|line| line.contains("Peak live")).unwrap();
    assert!(live.contains(" 1 B "), "{table}");
}

#[test]
#[cfg(unix)]
fn an_interrupted_bench_leaves_what_was_there() {
    let folder = Folder::new();
    let output = folder.path("results/b.json");
    std::fs::create_dir(folder.path("results")).unwrap();
    for before in [None, Some("an earlier result")] {
        if let Some(text) = before {
            std::fs::write(&output, text).unwrap();
        }
        let program = assert_cmd::cargo::cargo_bin("warmheap");
        let mut command = std::process::Command::new(program);
        command.args(["bench", "--rounds", "1000", "--output"]).arg(&output);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(2));
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        assert!(!child.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(&output).ok().as_deref(), before);
        let files = std::fs::read_dir(folder.path("results")).unwrap().count();
        assert_eq!(files, usize::from(before.is_some()), "no other file is left");
    }
}

#[test]
#[cfg(unix)]
fn a_result_keeps_the_place_and_the_mode_of_the_file_before_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = Folder::new();
    let trace = folder.file("one.csv", "Thread,Time,Action,Pointer,Size,Stream\n0,0,allocate,1,64,0\n");
    let file = folder.file("there.json", "before");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o640)).unwrap();
    let link = folder.path("link.json");
    symlink(&file, &link).unwrap();
    let bench = |output: &str| {
        let run = ["bench", "--device", "sim", "--trace", &trace, "--rounds", "1", "--output", output];
        warmheap(&run)
    };
    let run = bench(&link.display().to_string());
    assert_eq!(run.code, 0, "{run:?}");
    assert!(link.is_symlink() && std::fs::read_to_string(&file).unwrap().contains("\"bench\""));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    // Streams are written in place, and a folder is none.
    assert_eq!(bench("/dev/null").code, 0);
    assert!(!std::path::Path::new("/dev/null").is_file());
    let run = bench(&folder.path("").display().to_string());
    assert!(run.code == 1 && run.stderr.contains("cannot be written"), "{run:?}");
    // A mode that the mask would shorten stays, and a file with two names keeps both.
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
    let other_name = folder.path("other.json");
    std::fs::hard_link(&file, &other_name).unwrap();
    assert_eq!(bench(&file).code, 0);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&other_name).unwrap());
    std::fs::remove_file(&other_name).unwrap();
    assert_eq!(bench(&file).code, 0);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o666);
    // A link may lead to a file that is not there yet.
    let target = folder.path("target.json");
    let early = folder.path("early.json");
    symlink("target.json", &early).unwrap();
    assert_eq!(bench(&early.display().to_string()).code, 0);
    assert!(early.is_symlink() && target.is_file());
}

#[test]
#[cfg(unix)]
fn a_result_that_can_have_no_file_costs_no_run() {
    let folder = Folder::new();
    let trace = folder.file("one.csv", "Thread,Time,Action,Pointer,Size,Stream\n0,0,allocate,1,64,0\n");
    let long = folder.path(&"n".repeat(300)).display().to_string();
    let absent = folder.path("absent/").display().to_string();
    for output in [long.as_str(), absent.as_str(), "/dev/full/x.json", "/proc/version"] {
        let run =
            warmheap(&["bench", "--device", "sim", "--trace", &trace, "--rounds", "1", "--output", output]);
        assert!(
            run.code == 1 && run.stdout.is_empty() && run.stderr.contains("cannot be written"),
            "{run:?}"
        );
        assert!(!run.stderr.contains("entity") && !run.stderr.contains(".warmheap-"), "{run:?}");
    }
    assert!(!folder.path("absent").exists());
    // A disk without space is found out by writing: the result is shown.
    let run =
        warmheap(&["bench", "--device", "sim", "--trace", &trace, "--rounds", "1", "--output", "/dev/full"]);
    assert!(run.code == 1 && run.stdout.contains("Hit rate"), "{run:?}");
}

#[test]
fn one_key_of_the_environments_file_changes_that_key_only() {
    let folder = Folder::new();
    let trace = folder.file("small.csv", small_trace());
    let replay = ["replay", trace.as_str(), "--rounds", "1", "--json"];
    let bench = ["bench", "--trace", trace.as_str(), "--device", "sim", "--rounds", "1", "--json"];
    for arguments in [&replay[..], &bench] {
        let config = |file: Option<&str>| {
            let mut process = Command::cargo_bin("warmheap").unwrap();
            file.map(|file| process.env("WARMHEAP_CONFIG", file));
            let output = process.args(arguments).output().unwrap();
            let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            result["config"].as_str().unwrap().to_owned()
        };
        let file = folder.file("one.yaml", "wait_ms: 7\n");
        assert_eq!(config(Some(&file)), config(None).replace("wait_ms: 0", "wait_ms: 7"));
        // A key of fixed heaps asks for them, with the defaults of the others.
        let file = folder.file("fixed.yaml", "num_heaps: 2\n");
        let fixed = config(Some(&file));
        for line in
            ["heap_sizing: fixed", "heap_size_mb: 256", "num_heaps: 2", "warmup_sizes: [32, 128, 512]"]
        {
            assert!(fixed.contains(line), "no {line} in {fixed}");
        }
    }
}

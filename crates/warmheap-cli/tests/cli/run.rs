//! Runs the command on files made for a test.

use std::path::PathBuf;

use assert_cmd::Command;
use tempfile::TempDir;

/// A folder for one test's files.
pub(crate) struct Folder(TempDir);

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file with these contents, and returns its path.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, contents).unwrap();
        path.display().to_string()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// Runs the command. A process that a signal killed has code -1.
pub(crate) fn warmheap(args: &[&str]) -> Run {
    let mut command = Command::cargo_bin("warmheap").unwrap();
    // The command takes every variable with this prefix for its own, but those of the tests are not.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WARMHEAP_") {
            command.env_remove(name);
        }
    }
    let output = command.args(args).output().unwrap();
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    /// Returns what the run printed as JSON. Asserts that it ended well.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Returns a trace in which buffers of up to 64 KiB come and go.
pub(crate) fn small_trace() -> String {
    let mut text = String::from("Thread,Time,Action,Pointer,Size,Stream\n");
    for i in 0..600_u64 {
        let size = 1 + i * 7919 % 65536;
        text += &format!("0,{:.6},allocate,{i:#x},{size},0\n", i as f64 / 1000.0);
        if i >= 20 {
            let size = 1 + (i - 20) * 7919 % 65536;
            text += &format!("0,{:.6},free,{:#x},{size},0\n", i as f64 / 1000.0, i - 20);
        }
    }
    text
}

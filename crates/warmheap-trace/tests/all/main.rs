//! Traces: their files, and what replays find out.

mod files;
mod replay;

use std::path::{Path, PathBuf};

/// The trace that the command has built in.
fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces/qwen05b_short.csv.zst")
}

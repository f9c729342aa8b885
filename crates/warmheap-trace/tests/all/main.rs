//! Trace files, and what replays measure.

mod files;
mod replay;

use std::path::{Path, PathBuf};

/// The trace that is built into the command.
fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces/qwen05b_short.csv.zst")
}

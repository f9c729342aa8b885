//! The statistics of the pools under PyTorch, as JSON. Callers get them on request. If `WARMHEAP_STATS` names
//! a file, a thread also writes them there every second, for `warmheap watch`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use serde_json::{Value, json};
use warmheap::device::Device;

use super::gpu::Gpu;

/// The time between two writes of the file.
const INTERVAL: Duration = Duration::from_secs(1);

/// Returns what all pools under PyTorch in this process hold, by device and by stream, as a JSON object.
#[must_use]
pub fn report() -> Value {
    let gpus: Vec<Value> = Gpu::opened().map(of_gpu).collect();
    json!({ "pid": std::process::id(), "devices": gpus })
}

fn of_gpu(gpu: &Gpu) -> Value {
    let sum = |f: fn(&warmheap::Pool) -> u64| gpu.arenas().map(|arena| f(&arena.pool)).sum::<u64>();
    let streams: Vec<Value> = gpu
        .arenas()
        .map(|arena| {
            json!({
                "stream": format!("{:#x}", arena.stream),
                "reserved_bytes": arena.pool.reserved_bytes(),
                "peak_reserved_bytes": arena.pool.peak_reserved_bytes(),
                "statistics": arena.pool.statistics(),
            })
        })
        .collect();
    json!({
        "device": gpu.device.name(),
        "reserved_bytes": sum(|pool| pool.reserved_bytes()) + gpu.graph_bytes(),
        // The sum is exact for one stream. It is an upper bound for streams that peak at different times.
        "peak_reserved_bytes": sum(|pool| pool.peak_reserved_bytes()) + gpu.graph_bytes(),
        "graph_bytes": gpu.graph_bytes(),
        "streams": streams,
    })
}

/// Starts writing the file, once per process, if `WARMHEAP_STATS` names one.
pub(super) fn start_writing() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let Some(path) = std::env::var_os("WARMHEAP_STATS").map(PathBuf::from) else {
            return;
        };
        let write = move || {
            loop {
                // The folder may come later, and a full disk may have room again.
                let _ = replace(&path, &report().to_string());
                std::thread::sleep(INTERVAL);
            }
        };
        // The file is a convenience, so a process that may not start threads goes on without it.
        let _ = std::thread::Builder::new().name("warmheap-stats".into()).spawn(write);
    });
}

/// Replaces the file in one step, so that readers see the old text or the new text, never a part of one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

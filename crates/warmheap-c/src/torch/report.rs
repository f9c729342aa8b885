//! What the pools under PyTorch say about themselves, as JSON: on request, and every second into
//! the file that `WARMHEAP_STATS` names, for `warmheap watch`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use serde_json::{Value, json};
use warmheap::device::Device;

use super::gpu::Gpu;

/// How often the file is written.
const INTERVAL: Duration = Duration::from_secs(1);

/// What all pools under PyTorch in this process hold, by device and by stream, as a JSON object.
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
        // Exact for one stream; streams that peak at different times make it an upper bound.
        "peak_reserved_bytes": sum(|pool| pool.peak_reserved_bytes()) + gpu.graph_bytes(),
        "graph_bytes": gpu.graph_bytes(),
        "streams": streams,
    })
}

/// Starts writing the file, once per process, if one is asked for.
pub(super) fn start_writing() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let Some(path) = std::env::var_os("WARMHEAP_STATS").map(PathBuf::from) else {
            return;
        };
        let write = move || {
            while let Ok(()) = replace(&path, &report().to_string()) {
                std::thread::sleep(INTERVAL);
            }
        };
        // Statistics are a convenience: a process that may not start threads goes on without.
        let _ = std::thread::Builder::new().name("warmheap-stats".into()).spawn(write);
    });
}

/// Readers see the old text or the new one, never half of one.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

//! Records what a program requests from its pool, then replays it on another pool:
//! `cargo run -p warmheap-trace --example record_and_replay`

use std::sync::Arc;

use warmheap::config::MIB;
use warmheap::device::sim::SimDevice;
use warmheap::{Pool, PoolConfig};
use warmheap_trace::replay::Replay;
use warmheap_trace::{Compile, Program, Recorder, TraceReader, TraceWriter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join("warmheap-example.csv.zst");

    // Wherever the program would call its pool, it calls the recorder.
    let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic())?;
    let recorder = Recorder::new(pool, TraceWriter::create(&path)?);
    let _weights = recorder.allocate(20 * MIB)?;
    for token in 0..1000_u64 {
        let _activations = recorder.allocate(100_000 + token * 512)?;
        let _logits = recorder.allocate(304_128)?;
    }
    println!("recorded {} events in {}", recorder.finish()?, path.display());

    // The recording shows whether another configuration would have served the program.
    let program = Program::compile(TraceReader::open(&path)?, Compile::default())?;
    let config = PoolConfig::default().with_heap_size(32 * MIB).with_num_heaps(1).with_warmup_sizes([]);
    let pool = Pool::new(Arc::new(SimDevice::new()), config)?;
    let report = Replay { verify: true, ..Replay::default() }.run(&program, &pool, || {})?;
    println!(
        "hit rate {}, {:.1} ns per operation, {} MiB reserved for {} MiB alive at the most",
        report.hit_rate,
        report.ns_per_op,
        report.peak_reserved_bytes / MIB,
        report.peak_live_bytes / MIB
    );
    Ok(())
}

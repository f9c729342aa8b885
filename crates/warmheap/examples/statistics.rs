//! Prints the statistics of a pool, their grades and advice: `cargo run --example statistics`

use std::sync::Arc;

use warmheap::advice::{self, Grades};
use warmheap::config::MIB;
use warmheap::device::host::HostDevice;
use warmheap::{Pool, PoolConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The heap is too small on purpose: three of the buffers below do not fit.
    let config = PoolConfig::default()
        .with_heap_size(16 * MIB)
        .with_num_heaps(1)
        .with_warmup_sizes([16 * MIB])
        .with_log_exhaustion(false);
    let pool = Pool::new(Arc::new(HostDevice::new()), config)?;
    let _buffers: Vec<_> = (0..5).map(|_| pool.allocate(7 * MIB)).collect::<Result<_, _>>()?;

    let statistics = pool.statistics();
    println!(
        "{} of {} allocations fell back to the device",
        statistics.fallback_allocations, statistics.total_allocations
    );
    let grades = Grades::of(&statistics);
    println!(
        "hit rate     {}\nutilization  {}\nfallbacks    {}",
        grades.hit_rate, grades.utilization, grades.fallback_rate
    );

    for finding in advice::findings(&statistics, pool.config()) {
        println!("{}: {}", finding.title, finding.explanation);
        for change in &finding.change {
            println!("    {}: {} -> {}", change.key, change.from, change.to);
        }
    }
    let recommended = advice::recommend_for_run(&statistics, pool.config());
    println!("recommended: {}", recommended.explanation);
    Ok(())
}

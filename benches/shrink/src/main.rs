//! Shows the memory that pools hold from their device while a load comes, peaks and goes. The table and the
//! picture of docs/giving-back.md come from here. Each device runs twice: with `trim_after_ms` and without.
//!
//! `shrink [FILE]` prints the table, and draws the run on host memory into FILE (SVG).

mod load;
mod picture;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use warmheap::config::MIB;
use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;
use warmheap::{Pool, PoolConfig};

use load::{Course, Sample};

/// The setting `trim_after` of the runs that give memory back.
const TRIM_AFTER: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let picture = std::env::args_os().nth(1).map(PathBuf::from);
    let devices: [(&str, Arc<dyn Device>); 3] = [
        ("host", Arc::new(HostDevice::new())),
        ("sim, elastic", Arc::new(SimDevice::new())),
        ("sim, discrete", Arc::new(SimDevice::new().discrete())),
    ];
    println!(
        "| Device | `trim_after_ms` | Live MiB, peak | Held MiB, peak | Live MiB, idle | Held MiB, idle | \
         Held / live, idle | Device calls |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, device) in devices {
        let runs = [Duration::ZERO, TRIM_AFTER].map(|idle| {
            let pool = Pool::new(Arc::clone(&device), PoolConfig::elastic().with_trim_after(idle))?;
            let course = load::run(&pool)?;
            print_row(name, idle, &course);
            Ok::<_, Box<dyn Error>>(course)
        });
        let [kept, given_back] = runs;
        let (kept, given_back) = (kept?, given_back?);
        if let Some(file) = picture.as_ref().filter(|_| name == "host") {
            picture::draw(file, &kept, &given_back, TRIM_AFTER)?;
        }
    }
    Ok(())
}

fn print_row(name: &str, idle: Duration, course: &Course) {
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let peak = |figure: fn(&Sample) -> u64| course.samples.iter().map(figure).max().unwrap_or(0);
    let Sample { live, held, .. } = course.rested();
    println!(
        "| {name} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {} |",
        idle.as_millis(),
        mib(peak(|sample| sample.live)),
        mib(peak(|sample| sample.held)),
        mib(live),
        mib(held),
        held as f64 / live as f64,
        course.device_calls,
    );
}

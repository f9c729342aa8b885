//! `warmheap watch` shows what the pools of a running program hold, again and again.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use warmheap::Statistics;
use warmheap::config::MIB;

use super::whole;
use crate::failure::Failure;
use crate::show::{grouped, percent, table};
use crate::{input, show};

/// A program has ended if it has not written for this long.
const SILENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file that the program's WARMHEAP_STATS names.
    #[arg(env = "WARMHEAP_STATS")]
    file: PathBuf,
    /// Seconds between two outputs.
    #[arg(long, default_value_t = 1, value_parser = whole(" of seconds", 1, 3600))]
    interval: u64,
    /// Print once and exit.
    #[arg(long)]
    once: bool,
}

/// The contents of the file that a program writes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) pid: u32,
    pub(crate) devices: Vec<Device>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Device {
    pub(crate) device: String,
    pub(crate) reserved_bytes: u64,
    pub(crate) peak_reserved_bytes: u64,
    pub(crate) streams: Vec<Stream>,
}

/// The pool of one stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) stream: String,
    pub(crate) reserved_bytes: u64,
    pub(crate) peak_reserved_bytes: u64,
    pub(crate) statistics: Statistics,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<ExitCode, Failure> {
    loop {
        let report: Report = input::statistics(&args.file)?;
        show::print(json, "watch", &report)?;
        if is_silent(args) {
            show::note(format_args!("process {} has stopped writing", report.pid));
            return Ok(ExitCode::SUCCESS);
        }
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        sleep(Duration::from_secs(args.interval));
    }
}

fn is_silent(args: &Args) -> bool {
    let written = args.file.metadata().and_then(|data| data.modified());
    let age = written.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    age.is_some_and(|age| age > SILENCE)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        for device in &self.devices {
            let rows = device.streams.iter().map(|stream| {
                let statistics = &stream.statistics;
                let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB as f64);
                [
                    stream.stream.clone(),
                    format!("{:.1}", statistics.used_capacity_mb),
                    mib(stream.reserved_bytes),
                    mib(stream.peak_reserved_bytes),
                    percent(statistics.hit_rate),
                    grouped(statistics.device_calls),
                ]
            });
            let header = ["Stream", "Used, MiB", "Reserved, MiB", "Peak, MiB", "Hits", "Calls"];
            write!(f, "\n{}\n{}", device.device, table(header, rows))?;
        }
        Ok(())
    }
}
